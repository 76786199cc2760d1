"""From what `fairseq-mos evaluate` is asked to the rows of its tables."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

import fairseq_mos.version
from fairseq_mos.cost.latency import LatencyMeter, LatencySettings
from fairseq_mos.cost.profiling import profile
from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write, check_folder, check_unread
from fairseq_mos.metrics.compound import compound_bleu
from fairseq_mos.metrics.neural import check_comet, comet_scores
from fairseq_mos.metrics.scores import Score, build_metrics, check_counts, check_samples, score_systems
from fairseq_mos.metrics.systems import (
    System,
    check_names,
    given_name,
    named_systems,
    read_hypotheses,
    text_names,
    translation_file,
)
from fairseq_mos.metrics.tables import Row, table_files
from fairseq_mos.metrics.testsets import TestSet, load_test_set
from fairseq_mos.metrics.translating import Decoding, Translator
from fairseq_mos.paths import is_folder

TRANSLATIONS = "translations"
"""Folder in that of an evaluation."""


@dataclass(frozen=True)
class Request:
    """What to evaluate and how; the names and defaults are those of the flags of `fairseq-mos evaluate`."""

    output: str
    test_set: Sequence[str]
    path: Sequence[str] = ()
    architecture: Sequence[str] = ()
    hypotheses: Sequence[str] = ()
    data: str | None = None
    trust: bool = False
    source_lang: str | None = None
    target_lang: str | None = None
    beam: int = 5
    lenpen: float = 1.0
    max_tokens: int = 4096
    bpe: str | None = None
    tokenizer: str | None = None
    cpu: bool = False
    fp16: bool = False
    metrics: str = "bleu,chrf,ter"
    bootstrap: int = 1000
    paired: str = "bs"
    paired_trials: int = 0
    compound_bleu: bool = False
    comet: str | None = None
    comet_python: str | None = None
    comet_minutes: float = 120.0
    latency: bool = False
    threads: int | None = None
    runs: int = 100


def evaluate(asked: Request) -> list[Row]:
    """Translates all test sets with all systems and scores them.

    Raises:
        UserError: unusable input; before anything is translated, wherever that can be known then.
    """
    on_gpu = torch.cuda.is_available() and not asked.cpu
    if asked.fp16 and not on_gpu:
        raise UserError("--fp16 needs a GPU")
    decoding = Decoding(
        asked.beam, asked.lenpen, asked.max_tokens, asked.bpe, asked.tokenizer, "cuda" if on_gpu else "cpu", asked.fp16
    )
    latency = LatencySettings(threads=asked.threads, runs=asked.runs) if asked.latency else None
    check_samples(asked.bootstrap, asked.paired_trials)
    metrics = [name.strip() for name in asked.metrics.split(",")]
    given = list(map(read_hypotheses, asked.hypotheses))
    systems = named_systems(asked.path, asked.architecture, [name for name, _ in given], asked.data, asked.trust)
    for system in systems:
        system.load()
    given = dict(given)
    pair = language_pair(systems, asked.source_lang, asked.target_lang)
    build_metrics(metrics, pair[1])
    test_sets = load_test_sets(asked.test_set, pair)
    names = [*(system.name for system in systems), *given]
    check_names(names, test_sets)
    folder = Path(asked.output)
    _check_places(folder, names, test_sets)
    folder = folder / TRANSLATIONS
    made = [translation_file(folder, system.name, test_set.name) for system in systems for test_set in test_sets]
    check_unread(made, [text.partition("=")[2] or text for text in asked.hypotheses])
    for test_set in test_sets:
        check_counts(given, test_set.references, test_set.name)
    if asked.compound_bleu:
        compound_bleu([""], [[""]], pair[1])
    if asked.comet:
        check_comet(asked.comet, asked.comet_python)
    # Preparing a model for translation changes what can be counted and measured.
    costs = {system.name: _counted(system) for system in systems}
    dense = {s.name: copy.deepcopy(s.bundle.model) for s in systems if latency and costs[s.name]}
    translators = {system.name: Translator(system, decoding, folder) for system in systems}
    for test_set in test_sets:
        for translator in translators.values():
            translator.check(test_set)
    # Nothing was written up to here, and nothing that a user gave should be found wrong from here on.
    measured = {name: _measured(model, latency) for name, model in dense.items()}
    rows = []
    for test_set in test_sets:
        hypotheses = {name: translator.translate(test_set) for name, translator in translators.items()}
        _keep_texts(folder, test_set, given)
        found = _scores(test_set, {**hypotheses, **given}, metrics, pair[1], asked, decoding)
        for name, scores in found.items():
            about = _about(systems, name, decoding)
            times, how = measured.get(name, ({}, ""))
            rows.append(Row(name, test_set.name, scores, {**costs.get(name, {}), **times}, how, about))
    return rows


def language_pair(systems: Sequence[System], source: str | None, target: str | None) -> tuple[str, str]:
    """Returns source and target language: those given, else the first checkpoint's.

    Raises:
        UserError: unknown, or other ones than a checkpoint's.
    """
    for system in systems:
        own = system.bundle.data.languages
        source, target = source or own[0], target or own[1]
        if (source, target) != own:
            raise UserError(f"{system.path} translates {'-'.join(own)}, asked is {source}-{target}")
    if source is None or target is None:
        raise UserError("--hypotheses alone do not tell the languages: give --source-lang and --target-lang")
    return source, target


def load_test_sets(specs: Sequence[str], pair: tuple[str, str]) -> list[TestSet]:
    """Loads all test sets, each `SPEC` or `NAME=SPEC`.

    Raises:
        UserError: unusable ones, or two of one name.
    """
    found: dict[str, TestSet] = {}
    for text in specs:
        name, spec = given_name(text)
        test_set = load_test_set(spec, *pair)
        name = name or test_set.name
        if name in found:
            raise UserError(f"two test sets are called {name}: give them names, as in --test-set NAME=PREFIX")
        found[name] = replace(test_set, name=name)
    return list(found.values())


def _check_places(folder: Path, systems: Sequence[str], test_sets: Sequence[TestSet]) -> None:
    """Raises where a folder is in the place of a file to write."""
    check_folder(folder / TRANSLATIONS)
    places = [names for test_set in test_sets for names in text_names(systems, test_set).values()]
    texts = [translation_file(folder / TRANSLATIONS, *names) for names in places]
    for file in (*table_files(folder), *texts, *(text.with_suffix(".json") for text in texts)):
        if is_folder(file):
            raise UserError(f"cannot write {file}: it is a folder")


def _counted(system: System) -> dict[str, float]:
    model = system.bundle.model
    counted = profile(model.network() if hasattr(model, "network") else model)
    return {name: counted[name] for name in ("params", "params_no_embed", "flops")}


def _measured(model: nn.Module, settings: LatencySettings) -> tuple[dict[str, float], str]:
    """Returns a model's latency and how it was measured."""
    meter = LatencyMeter(settings)
    found = meter.measure(model)
    signature = {**meter.settings.signature(), "runs": settings.runs}
    times = {"latency_ms": found.median_ms, "latency_low_ms": found.low_ms, "latency_high_ms": found.high_ms}
    return times, "|".join(f"{name}:{value}" for name, value in signature.items())


def _keep_texts(folder: Path, test_set: TestSet, given: dict) -> None:
    """Writes sources, references and given translations beside our own, for whoever wants to read them."""
    files = {translation_file(folder, name, test_set.name): lines for name, lines in given.items()}
    for part, lines in (("source", test_set.sources), ("reference", test_set.references[0])):
        files[translation_file(folder, test_set.name, part)] = lines
    for file, lines in files.items():
        with atomic_write(file) as stream:
            stream.writelines(f"{line}\n" for line in lines)


def _scores(
    test_set: TestSet, hypotheses: dict, metrics: Sequence[str], target_lang: str, asked: Request,
    decoding: Decoding,
) -> dict[str, dict[str, Score]]:  # fmt: skip
    """Returns system -> metric -> score."""
    paired = None if asked.paired == "none" or len(hypotheses) < 2 else asked.paired
    scores = score_systems(
        hypotheses, test_set.references, metrics, target_lang, asked.bootstrap, paired, asked.paired_trials
    )
    if asked.compound_bleu:
        for name, lines in hypotheses.items():
            found = compound_bleu(lines, test_set.references, target_lang)
            scores[name][found.metric] = found
    if asked.comet:
        answers = comet_scores(
            test_set.sources, hypotheses, test_set.references[0], asked.comet, asked.comet_python,
            gpus=int(decoding.device == "cuda"), minutes=asked.comet_minutes,
        )  # fmt: skip
        for name, found in answers.items():
            scores[name][found.metric] = found
    return scores


def _about(systems: Sequence[System], name: str, decoding: Decoding) -> str:
    """Returns a row's signature: model, decoding and versions."""
    system = next((system for system in systems if system.name == name), None)
    if system is None:
        return "translations:given"
    versions = f"fairseq-mos:{fairseq_mos.version.__version__}|torch:{torch.__version__.split('+')[0]}"
    return f"{system.signature()}|{decoding.signature()}|{versions}"
