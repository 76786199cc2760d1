"""Scores of detokenised translations against raw references, by sacreBLEU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import PipelineError


@dataclass(frozen=True)
class Scores:
    """Corpus scores with sacreBLEU's signatures."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def score(hypotheses: list[str], references: list[str], target_lang: str) -> Scores:
    """Computes BLEU and chrF as `fairseq-mos evaluate` does.

    Args:
        hypotheses: detokenised translations, one a line of the test set.
        references: the raw references.
        target_lang: language code; decides BLEU's tokeniser.

    Raises:
        PipelineError: their numbers differ, or there are none.
    """
    from sacrebleu.metrics import CHRF

    from fairseq_mos.metrics.bleu import bleu_metric

    if len(hypotheses) != len(references):
        raise PipelineError(f"{len(hypotheses)} hypotheses for {len(references)} references", 1)
    if not references:
        raise PipelineError("there is nothing to score", 1)
    bleu, chrf = bleu_metric(target_lang), CHRF()
    return Scores(
        bleu=bleu.corpus_score(hypotheses, [references]).score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def read_hypotheses(path: Path, number: int) -> list[tuple[str, str]]:
    """Reads what fairseq-generate printed.

    Args:
        path: its output; batches are in any order.
        number: sentences in the test set.

    Returns:
        For each sentence its best translation without sentencepiece's marks, and its score as printed.

    Raises:
        PipelineError: a sentence is missing, or there is one too many.
    """
    found: dict[int, tuple[str, str]] = {}
    for line in path.read_text("utf-8").split("\n"):
        match = re.match(r"H-(\d+)\t([^\t]*)\t(.*)", line, re.DOTALL)
        if match and int(match.group(1)) not in found:
            found[int(match.group(1))] = (match.group(3).strip(), match.group(2))
    if sorted(found) != list(range(number)):
        raise PipelineError(f"{path} translates {len(found)} sentences, the test set has {number}", 1)
    return [found[index] for index in range(number)]


def differing(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[int]:
    """Returns the indices of the sentences whose translations or scores differ."""
    if len(first) != len(second):
        raise PipelineError(f"{len(first)} translations against {len(second)}", 1)
    return [index for index, (a, b) in enumerate(zip(first, second)) if a != b]
