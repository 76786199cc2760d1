"""Measured latencies of many architectures: the data of a latency predictor."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.cost.features import mean_features
from fairseq_mos.cost.milliseconds import milliseconds
from fairseq_mos.documents import json_lines
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.journal import REMEDY, Journal
from fairseq_mos.tables import signature_line
from fairseq_mos.version import __version__

REFERENCE_EVERY = 10
"""Architectures between two measurements of the reference."""

_TRIES = 200


@dataclass(frozen=True)
class LatencyData:
    """A data set of measured latencies.

    Attributes:
        space: the search space.
        signature: how and where latency was measured.
        architectures: what was measured, the reference left out.
        milliseconds: latency of each: the median of its runs, the lowest of all passes.
        reference: latency of the reference, the largest architecture, at each of its places in a pass, likewise.
        in_time: all medians of the reference, as they were measured one after the other.
        about: what else the file's header says: `supernet` and `data`, as given, where it has them.
    """

    space: SearchSpace
    signature: Mapping[str, object]
    architectures: Sequence[Architecture]
    milliseconds: Sequence[float]
    reference: Sequence[float] = field(default_factory=list)
    in_time: Sequence[float] = field(default_factory=list)
    about: Mapping[str, object] = field(default_factory=dict, compare=False)

    def noise(self) -> float:
        """Returns the reference's mean absolute deviation from its median, relative: the floor of any error."""
        if len(self.reference) < 2:
            return float("nan")
        middle = statistics.median(self.reference)
        return statistics.fmean(abs(value / middle - 1) for value in self.reference)

    def drift(self) -> float:
        """Returns the relative difference of the reference's medians in the last and the first half."""
        half = len(self.in_time) // 2
        if half == 0:
            return float("nan")
        return statistics.median(self.in_time[-half:]) / statistics.median(self.in_time[:half]) - 1


def stratified(space: SearchSpace, seed: int) -> Iterator[Architecture]:
    """Yields distinct architectures: the largest, the smallest, then each depth of the last stack equally often.

    After the two, every place holds a random architecture: each round of depths is shuffled. So the order tells
    nothing about size or depth, and since the sequence depends on space and seed alone, a larger data set of the
    same seed continues a smaller one. It ends when nothing new is found.
    """
    rng = random.Random(f"latency data set, seed {seed}")
    # Its layers run at every step of decoding, where there is any.
    depths = space.choices[-1].layers
    place = [gene.name for gene in space.genes].index(f"{space.schema.stacks[-1].name}.layers")
    seen = set()
    for arch in (space.largest(), space.smallest()):
        if arch not in seen:
            seen.add(arch)
            yield arch
    while True:
        found = False
        for depth in rng.sample(depths, len(depths)):
            for _ in range(_TRIES):
                genes = list(space.sample_genes(rng))
                genes[place] = depth
                arch = space.from_genes(genes)
                if arch not in seen:
                    seen.add(arch)
                    found = True
                    yield arch
                    break
        if not found:
            return


def measure_dataset(
    space: SearchSpace,
    samples: int,
    seed: int,
    signature: Mapping[str, object],
    measure: Callable[[Architecture], Mapping[str, float]],
    output: str | Path,
    about: Mapping[str, object] | None = None,
    progress: Callable[[bool], None] | None = None,
    passes: int = 1,
) -> LatencyData:
    """Measures architectures, or goes on with it, and returns all that the file holds then.

    Before every ten of them, the largest architecture is measured once more, to tell drift and noise. Other
    work on the machine only ever slows a model down, for seconds or minutes: with several passes, each in an
    order of its own, an architecture's latency is the lowest of its medians.

    Args:
        space: the search space.
        samples: how many architectures.
        seed: which ones.
        signature: how and where latency is measured.
        measure: architecture -> `median_ms` and further values.
        output: file, JSON lines; a kill at any moment loses one measurement at most.
        about: what else the file's header should say.
        progress: called after each measurement with whether it came from the file.
        passes: how often all architectures are measured; a file can be continued with more passes.

    Raises:
        UserError: too few samples or passes, an unwritable file, or the data of another space, device or seed.
    """
    if samples < 2:
        raise UserError(f"--samples is {samples}, allowed: 2 or more")
    if passes < 1:
        raise UserError(f"--passes is {passes}, allowed: 1 or more")
    wanted = {"space": space.to_dict(), "seed": seed, "settings": dict(signature)}
    with Journal(output, wanted, about, "latency data set") as journal:
        for index, (role, place, arch) in enumerate(_schedule(space, samples, seed, passes)):
            replayed = index < len(journal.rows)
            if not replayed:
                row = {"role": role, "place": place, "digest": arch.digest(), **measure(arch)}
                row["architecture"] = arch.to_dict()
                journal.append(row)
                journal.rows.append(row)
            elif journal.rows[index].get("digest") != arch.digest():
                raise UserError(f"{output}: line {index + 2} holds another architecture than expected: {REMEDY}")
            if progress is not None:
                progress(replayed)
        return _data(space, signature, journal.rows, output, about or {})


def planned(space: SearchSpace, samples: int, seed: int, passes: int = 1) -> int:
    """Returns how many measurements :func:`measure_dataset` takes, the reference's included."""
    return sum(1 for _ in _schedule(space, samples, seed, passes))


def read_dataset(path: str | Path) -> LatencyData:
    """Reads a data set.

    Raises:
        UserError: there is none at that path.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    rows = json_lines(content, path)
    if not rows or "fairseq_mos_latency_data_set" not in rows[0]:
        raise UserError(f"{path} is no latency data set: expected a file that fairseq-mos latency-dataset wrote")
    try:
        written, settings = rows[0]["signature"]["space"], dict(rows[0]["signature"]["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: line 1 is no header of a latency data set ({error}): measure anew") from error
    return _data(SearchSpace.from_dict(written, str(path)), settings, rows[1:], path, rows[0])


def _schedule(space: SearchSpace, samples: int, seed: int, passes: int) -> Iterator[tuple[str, int, Architecture]]:
    """Yields role, number among the measurements of that role in its pass, and architecture."""
    drawn = list(itertools.islice(stratified(space, seed), samples))
    places = list(range(len(drawn)))
    for number in range(passes):
        if number:
            random.Random(f"latency data set, seed {seed}, pass {number}").shuffle(places)
        for index, place in enumerate(places):
            if index % REFERENCE_EVERY == 0:
                yield "reference", index // REFERENCE_EVERY, space.largest()
            yield "sample", place, drawn[place]


def _data(space: SearchSpace, signature, rows: Sequence[Mapping], path, about: Mapping) -> LatencyData:
    in_time: list[float] = []
    lowest: dict[str, dict] = {"reference": {}, "sample": {}}
    for number, row in enumerate(rows, 2):
        try:
            latency, role = milliseconds("median_ms", row["median_ms"]), row["role"]
            if role == "reference":
                # Files from before there were passes have no places: each of their measurements counts.
                key = row.get("place", len(in_time))
                in_time.append(latency)
            else:
                key = Architecture.from_dict(row["architecture"], f"{path}: line {number}")
                space.validate(key, f"{path}: line {number}")
            found = lowest[role]
            found[key] = min(found.get(key, latency), latency)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: line {number} is no measurement ({error})") from error
    samples, reference = lowest["sample"], lowest["reference"]
    return LatencyData(
        space, dict(signature), list(samples), list(samples.values()), list(reference.values()), in_time, about
    )


def summary(data: LatencyData) -> dict[str, object]:
    """Returns what a data set says of itself, for JSON; noise and drift are None where nothing was repeated."""
    repeated = len(data.in_time) > 1
    return {
        "architectures": len(data.architectures),
        "fastest_ms": min(data.milliseconds),
        "slowest_ms": max(data.milliseconds),
        "reference_measurements": len(data.in_time),
        "reference_ms": statistics.median(data.reference),
        "noise": data.noise() if len(data.reference) > 1 else None,
        "drift": data.drift() if repeated else None,
        "signature": dict(data.signature),
    }


def table(data: LatencyData) -> list[dict[str, object]]:
    """Returns a row for each architecture, for CSV: latency, sizes in HAT's columns, signature."""
    space = f"{data.space.name}-{data.space.digest()}"
    names = family_of(data.space).mean_names
    line = signature_line({"space": space, **data.signature, "fairseq_mos": __version__})
    return [
        {
            "digest": arch.digest(),
            "latency_ms": latency,
            **dict(zip(names, mean_features(arch))),
            "architecture": arch.to_json(),
            "signature": line,
        }
        for arch, latency in zip(data.architectures, data.milliseconds)
    ]
