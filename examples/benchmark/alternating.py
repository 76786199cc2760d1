"""Times contestants in turn, A B A B, and writes what came out as JSON and Markdown."""

from __future__ import annotations

import json
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def begin(threads: int) -> None:
    """Registers the plugin and sets the threads; what fairseq logs would hide the tables."""
    import torch

    import fairseq_mos

    fairseq_mos.register()
    torch.set_num_threads(threads)
    logging.disable(logging.CRITICAL)


def alternate(
    contestants: Mapping[str, Callable[[], object]], runs: int, threads: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Calls the contestants in turn.

    Args:
        contestants: what to time, by name; the first one is the reference.
        runs: rounds that count, after one that does not.
        threads: CPU threads.
        device: where; of one thread on a CPU the CPU's time counts, which other processes disturb less.

    Returns:
        Seconds of each contestant in each round.
    """
    from torch.utils.benchmark import Timer
    from tqdm import tqdm

    options = {"num_threads": threads}
    if threads == 1 and device == "cpu":
        options["timer"] = time.process_time
    timers = {name: Timer("call()", globals={"call": call}, **options) for name, call in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in tqdm(range(runs + 1), desc="rounds", leave=False, disable=not sys.stderr.isatty()):
        for name, timer in timers.items():
            seconds[name].append(timer.timeit(1).mean)
    return {name: values[1:] for name, values in seconds.items()}


def ratios(seconds: Mapping[str, Sequence[float]]) -> list[dict]:
    """Compares each contestant with the first one, round by round: a row each, with median and quartiles."""
    reference, *others = seconds
    rows = []
    for name in others:
        pairs = [ours / theirs for ours, theirs in zip(seconds[name], seconds[reference])]
        low, middle, high = _quartiles(pairs)
        rows.append(
            {
                "contestant": name,
                "reference": reference,
                "ratio": middle,
                "low": low,
                "high": high,
                "seconds": statistics.median(seconds[name]),
                "reference_seconds": statistics.median(seconds[reference]),
                "rounds": len(pairs),
            }
        )
    return rows


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def machine(threads: int, device: str = "cpu") -> dict:
    """Describes where and with what was measured."""
    import torch

    names = {"fairseq-mos": "fairseq_mos", "torch": "torch"}
    versions = {name: metadata.version(name) for name in names}
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {"processor": platform.machine(), "gpu": gpu, "threads": threads, **versions}


def write(folder: Path, name: str, question: str, rows: Sequence[Mapping], setting: Mapping) -> None:
    """Writes `name.json` and `name.md` into a folder, and prints the latter."""
    from fairseq_mos.files import atomic_write

    folder.mkdir(parents=True, exist_ok=True)
    text = f"{question}\n\n{table(rows)}\n\n" + ", ".join(f"{key} {value}" for key, value in setting.items()) + "\n"
    with atomic_write(folder / f"{name}.json") as stream:
        json.dump({"question": question, "setting": dict(setting), "rows": list(map(dict, rows))}, stream, indent=2)
    with atomic_write(folder / f"{name}.md") as stream:
        stream.write(text)
    print(text, end="")


def table(rows: Sequence[Mapping]) -> str:
    """Returns the rows as a Markdown table, a ratio with its quartiles."""
    titles = {name: name for name in rows[0] if name not in ("low", "high")}
    lines = [[_shown(row, name) for name in titles] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([*titles], ["---"] * len(titles), *lines))


def _shown(row: Mapping, name: str) -> str:
    value = row[name]
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if name == "ratio" else f"{value:.3f}"
