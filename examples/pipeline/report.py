"""Puts scores, sizes and losses together: the table, the examples and the picture."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import systems
from pipeline.layout import RETRAINED, STOCK
from pipeline.picture import Point, draw
from pipeline.scoring import score
from pipeline.table import Example, Results, Row, as_text, write_results
from pipeline.text import read_lines
from pipeline.work import digest_files

if TYPE_CHECKING:
    from pipeline.layout import Run

COPY = "copy of the source"
PACKAGES = ("fairseq-mos", "fairseq-fixed", "fairseq", "torch", "sentencepiece", "sacrebleu", "Babel")
EXAMPLES = 4


def report(run: Run, unlike: dict[str, list[int]]) -> None:
    """Scores every system, prints the results and writes the files.

    Args:
        run: a run whose translations are there.
        unlike: system -> sentences that the pinned supernet translates differently.
    """
    from fairseq_mos.arch import Architecture

    source_lang, target_lang = run.languages
    references = run.references()
    sources = read_lines(run.text / f"test.{source_lang}")
    hypotheses = {name: [text for text, _ in run.hypotheses(name)] for name in run.names}
    largest = run.space().largest()
    rows, marked, quartiles = [], {}, {}
    for name in run.names:
        dense = name == STOCK
        architecture = largest if dense else Architecture.load(run.architecture_file(name))
        size = systems.measure(run.checkpoint(name), architecture)
        scores = score(hypotheses[name], references, target_lang)
        latency = run.latency(name)
        marked[name] = Point(latency["median_ms"], run.valid_loss(name))
        quartiles[name] = (latency["low_ms"], latency["high_ms"])
        rows.append(
            Row(
                system=name,
                bleu=scores.bleu,
                chrf=scores.chrf,
                parameters=size.parameters,
                parameters_no_embed=size.parameters_no_embed,
                flops=size.flops,
                latency_ms=latency["median_ms"],
                latency_low_ms=latency["low_ms"],
                latency_high_ms=latency["high_ms"],
                valid_loss=run.valid_loss(name),
                differing=len(unlike[name]) if name in unlike else None,
                architecture=None if dense else architecture.digest(),
            )
        )
    copied = score(sources, references, target_lang)
    shown = (*systems.SUBNETS, RETRAINED)
    rows.append(Row(system=COPY, bleu=copied.bleu, chrf=copied.chrf))
    results = Results(
        title=f"{run.config.name}, {source_lang}-{target_lang}, {len(references)} test sentences",
        rows=rows,
        signature=signature(run, len(references)),
        bleu_signature=copied.bleu_signature,
        chrf_signature=copied.chrf_signature,
        examples=choose_examples(sources, references, {name: hypotheses[name] for name in shown if name in hypotheses}),
        picture="results.png",
    )
    picture = run.folder / results.picture
    title = f"{run.config.space} supernet ({run.config.routing} routing), {source_lang}-{target_lang}"
    evaluated = read_evaluations(run.search_dir / "evaluations.jsonl")
    draw(picture, title, evaluated, marked, run.latency_limit, quartiles)
    files = [*write_results(results, run.folder), picture]
    print(f"\n{as_text(results)}", flush=True)
    print("wrote " + ", ".join(str(path) for path in files), flush=True)


def read_evaluations(path: Path) -> list[Point]:
    """Returns predicted latency and full loss of what the search has evaluated; its header is passed over.

    Those that stopped early, as clearly worse, have no loss on the whole split.
    """
    records = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    return [
        Point(record["latency_ms"], record["loss"])
        for record in records
        if record.get("loss") is not None and not record.get("raced")
    ]


def choose_examples(
    sources: list[str], references: list[str], translations: dict[str, list[str]], number: int = EXAMPLES
) -> list[Example]:
    """Picks sentences at even distances through the test set: not the best ones, nor the worst."""
    step = max(1, len(sources) // number)
    return [
        Example(sources[i], references[i], {name: texts[i] for name, texts in translations.items()})
        for i in range(step // 2, len(sources), step)
    ][:number]


def signature(run: Run, sentences: int) -> dict[str, str]:
    """Returns what the numbers hold for."""
    space = run.space()
    test = [run.text / f"test.raw.{language}" for language in run.languages]
    data = str(run.args.data.resolve().name) if run.args.data else "CLDR"
    values = {
        "space": f"{space.name} {space.digest()[:8]}",
        "routing": run.config.routing,
        "experts": str(run.config.experts),
        "data": f"{data} {'-'.join(run.languages)}",
        "split": f"test ({sentences} sentences, sha256 {digest_files(test)[:8]})",
        "updates": str(run.args.updates),
        "vocabulary": str(run.args.vocabulary),
        "beam": str(run.config.beam),
        "seed": str(run.args.seed),
        "limit": f"predicted latency <= {run.latency_limit} ms",
        "device": f"{device()}, {run.args.threads} threads",
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            values[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if "fairseq-mos" not in values:
        from fairseq_mos.version import __version__

        values["fairseq-mos"] = __version__
    return values


def device() -> str:
    """Returns the name of the GPU that fairseq takes, or of the processor."""
    import torch

    from fairseq_mos.cost.latency import device_name

    if torch.cuda.is_available() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        return device_name("cuda")
    return f"CPU {device_name('cpu')}"
