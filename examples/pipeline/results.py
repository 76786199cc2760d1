"""Puts what the verbs have measured together: a table on the terminal, results.md, .json, .csv and .png."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from pipeline.layout import COPY, RETRAINED, STOCK, SUBNETS
from pipeline.text import read_lines
from pipeline.work import digest_files, write_text

if TYPE_CHECKING:
    from pipeline.layout import Run

PACKAGES = ("fairseq-mos", "fairseq-fixed", "fairseq", "torch", "sentencepiece", "sacrebleu", "Babel")
_COSTS = {
    "parameters": "params", "parameters_no_embed": "params_no_embed", "flops": "flops",
    "latency_ms": "median_ms", "latency_low_ms": "low_ms", "latency_high_ms": "high_ms",
}  # fmt: skip
"""Column -> what `fairseq-mos profile` calls it."""

# Colours that stay apart for colour-blind readers and in grey.
_MARKERS = {
    "largest": ("s", "#0072b2"), "found": ("*", "#d55e00"), "smallest": ("v", "#009e73"), STOCK: ("D", "#000000"),
    RETRAINED: ("P", "#d55e00"), "found, from scratch": ("X", "#e69f00"),
}  # fmt: skip


def report(run: Run, unlike: dict[str, list[int]]) -> None:
    """Prints the results of a run that was scored, and writes the files.

    Args:
        run: the run.
        unlike: system -> sentences that the pinned supernet translates differently.
    """
    results = collect(run, unlike)
    draw(run, results["rows"])
    for ending, written in (("md", as_markdown), ("json", _as_json), ("csv", as_csv)):
        write_text(run.folder / f"results.{ending}", written(results))
    print(f"\n{as_text(results)}", flush=True)
    files = [str(run.folder / f"results.{ending}") for ending in ("md", "json", "csv", "png")]
    print("wrote " + ", ".join(files), flush=True)


def collect(run: Run, unlike: dict[str, list[int]]) -> dict:
    """Returns what results.json holds."""
    from fairseq_mos.arch import Architecture
    from fairseq_mos.report.scored import spread

    scores, rows = run.scores(), []
    for name in (*run.names, COPY):
        row = {"system": name, "bleu": scores[name]["bleu"]["score"], "chrf": scores[name]["chrf"]["score"]}
        cost = run.costs(name) if name != COPY else {}
        row.update({key: cost.get(stored) for key, stored in _COSTS.items()})
        row["valid_loss"] = run.valid_loss(name) if cost else None
        row["differing"] = len(unlike[name]) if name in unlike else None
        dense = name in (STOCK, COPY)
        row["architecture"] = None if dense else Architecture.load(run.architecture_file(name)).digest()
        rows.append(row)
    texts = (run.languages[0], f"raw.{run.languages[1]}")
    sources, references = (read_lines(run.text / f"test.{part}") for part in texts)
    shown = {name: run.hypotheses(name) for name in (*SUBNETS, RETRAINED) if name in run.names}
    return {
        "title": f"{run.config.name}, {'-'.join(run.languages)}, {len(references)} test sentences",
        "rows": rows,
        "signature": signature(run, len(references)),
        **{f"{metric}_signature": scores[COPY][metric]["signature"] for metric in ("bleu", "chrf")},
        "examples": [
            {
                "source": sources[i],
                "reference": references[i],
                "translations": {name: lines[i][0] for name, lines in shown.items()},
            }
            for i in spread(len(sources))
        ],
        "picture": "results.png",
    }


def signature(run: Run, sentences: int) -> dict[str, str]:
    """Returns what the numbers hold for."""
    import fairseq_mos.version

    space, config, args = run.space(), run.config, run.args
    test = digest_files([run.text / f"test.raw.{language}" for language in run.languages])[:8]
    values = {
        "space": f"{space.name} {space.digest()[:8]}",
        "supernet": " ".join(config.supernet_flags),
        "data": f"{args.data.resolve().name if args.data else 'CLDR'} {'-'.join(run.languages)}",
        "split": f"test ({sentences} sentences, sha256 {test})",
        **{name: str(getattr(args, name)) for name in ("updates", "vocabulary")},
        "beam": str(config.beam),
        "seed": str(args.seed),
        "limit": f"predicted latency <= {run.latency_limit} ms",
        "device": f"{_device()}, {args.threads} threads",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            values[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    values.setdefault("fairseq-mos", fairseq_mos.version.__version__)
    return values


def _device() -> str:
    """Returns the name of the GPU that fairseq takes, or of the processor."""
    import torch

    from fairseq_mos.cost.latency import device_name

    on_gpu = torch.cuda.is_available() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    return device_name("cuda") if on_gpu else f"CPU {device_name('cpu')}"


def _grid(results: dict) -> list[list[str]]:
    pinned = any(row["differing"] is not None for row in results["rows"])
    forms = {
        "parameters": "{:,}".format, "parameters_no_embed": "{:,}".format, "flops": lambda n: f"{n / 1e6:.1f}M",
        "latency_ms": "{:.1f} ms".format, "valid_loss": "{:.3f}".format, "bleu": "{:.2f}".format,
        "chrf": "{:.2f}".format, "differing": lambda n: f"{n} differ" if n else "identical",
    }  # fmt: skip
    headers = ["system", "parameters", "without embeddings", "FLOPs at 30/30", "latency", "valid loss", "BLEU", "chrF"]
    grid = [[*headers, "pinned supernet"]]
    for row in results["rows"]:
        cells = ("-" if row[key] is None else form(row[key]) for key, form in forms.items())
        grid.append([row["system"], *cells])
    return grid if pinned else [line[:-1] for line in grid]


def _notes(results: dict) -> list[str]:
    notes = [
        "FLOPs = 2 x multiply-accumulates of one teacher-forced pass of 30 source and 30 target tokens, "
        "without the output layer. Latency: measured on this machine, one sentence of 30 source tokens, 30 decoder "
        "steps at beam 5, median. Valid loss: label-smoothed, bits per token.",
    ]
    if any(row["differing"] is not None for row in results["rows"]):
        notes.append(
            "Pinned supernet: whether the supernet with that architecture pinned gives the same hypotheses "
            "with the same scores as the extracted subnet."
        )
    return notes


def _example(example: dict) -> dict[str, str]:
    return {"source": example["source"], "reference": example["reference"], **example["translations"]}


def as_text(results: dict) -> str:
    """Returns the table for a terminal."""
    from fairseq_mos.tables import signature_line, text_lines

    grid = _grid(results)
    head, *lines = text_lines(grid)
    rule = "  ".join("-" * max(map(len, column)) for column in zip(*grid))
    lines = [head, rule, *lines, "", *_notes(results)]
    lines += [f"BLEU: {results['bleu_signature']}", f"chrF: {results['chrf_signature']}"]
    lines.append(signature_line(results["signature"]))
    for example in map(_example, results["examples"]):
        width = max(map(len, example))
        lines += ["", *(f"{name.ljust(width)}  {text}" for name, text in example.items())]
    return "\n".join(lines) + "\n"


def as_markdown(results: dict) -> str:
    """Returns results.md."""
    from fairseq_mos.tables import markdown_lines

    lines = [f"# {results['title']}", "", *markdown_lines([list(map(_escape, line)) for line in _grid(results)])]
    lines += ["", *_notes(results), ""]
    lines += [f"- BLEU: `{results['bleu_signature']}`", f"- chrF: `{results['chrf_signature']}`"]
    lines += [f"- {key}: {value}" for key, value in results["signature"].items()]
    lines += ["", "## Example translations"] if results["examples"] else []
    for example in map(_example, results["examples"]):
        lines += ["", "| | |", "|---|---|", *(f"| {name} | {_escape(text)} |" for name, text in example.items())]
    lines += ["", "## Valid loss against latency", "", f"![Valid loss against latency]({results['picture']})"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _as_json(results: dict) -> str:
    return json.dumps(results, indent=2, ensure_ascii=False) + "\n"


def as_csv(results: dict) -> str:
    """Returns results.csv; every row carries its signatures."""
    from fairseq_mos.tables import csv_text, signature_line

    signatures = {key: results[key] for key in ("bleu_signature", "chrf_signature")}
    signatures["signature"] = signature_line(results["signature"])
    return csv_text([{**row, **signatures} for row in results["rows"]])


def draw(run: Run, rows: list[dict]) -> None:
    """Draws valid loss against latency: what the search has evaluated, its front, and the measured systems."""
    from fairseq_mos.pictures import picture

    log = [json.loads(line) for line in read_lines(run.search_dir / "evaluations.jsonl")[1:]]
    # Those that stopped early, as clearly worse, have no loss on the whole split.
    full = [row for row in log if row.get("loss") is not None and not row.get("raced")]
    front = json.loads((run.search_dir / "front.json").read_text("utf-8"))["front"]
    front = [row for row in front if row["front"] == "latency_ms"]

    def points(found: list[dict], value: str = "loss") -> tuple[list[float], list[float]]:
        return [row["latency_ms"] for row in found], [row[value] for row in found]

    with picture(run.folder / "results.png", (8, 5), dpi=150) as axes:
        label = f"evaluated by the search ({len(full)}), latency predicted"
        axes.scatter(*points(full), s=22, color="#999999", label=label)
        axes.plot(
            *points(front), drawstyle="steps-post", color="#56b4e9", linewidth=1.6, zorder=1, label="Pareto front"
        )
        for row in (row for row in rows if row["latency_ms"] is not None):
            marker, colour = _MARKERS[row["system"]]
            axes.hlines(
                row["valid_loss"], row["latency_low_ms"], row["latency_high_ms"], color=colour, linewidth=1.2, zorder=2
            )
            axes.scatter(
                *points([row], "valid_loss"), s=190 if marker == "*" else 75, marker=marker, color=colour, zorder=3,
                label=f"{row['system']}, measured",
            )  # fmt: skip
        axes.axvline(run.latency_limit, color="#666666", linestyle=":", linewidth=1, label="limit of the search")
        axes.set_title(f"{run.config.space} supernet, {'-'.join(run.languages)}", fontsize=11)
        axes.set_xlabel("latency of one sentence on this machine (ms; 30 tokens in, 30 steps at beam 5)")
        axes.set_ylabel("valid loss (label-smoothed, bits per token)")
        axes.legend(fontsize=8)
