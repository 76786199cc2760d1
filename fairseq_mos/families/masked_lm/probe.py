"""What an export has to answer as the original does: features and scores of sentences."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fairseq_mos.documents import read_text
from fairseq_mos.errors import UserError
from fairseq_mos.models.bundle import Bundle

TOLERANCE = 1e-4
"""Largest difference of a score that is rounding, relative to the largest score of its sentence."""


@dataclass(frozen=True)
class Verdict:
    """The comparison of two routes.

    Attributes:
        sentences: how many were scored.
        differing: places of those whose scores differ by more than :data:`TOLERANCE`.
        difference: largest absolute difference of a score.
    """

    sentences: int
    differing: list[int]
    difference: float

    def __str__(self) -> str:
        same = "all" if not self.differing else f"{self.sentences - len(self.differing)} of"
        return (
            f"{same} {self.sentences} sentences have the original's scores, which differ by at most "
            f"{self.difference:.1e}"
        )


def read_sentences(bundle: Bundle, path: str | None, number: int) -> list[Tensor]:
    """Returns sentences as tokens: the first ones of a segmented text, or made-up ones.

    Raises:
        UserError: an unreadable file, no sentences, or one that is too long.
    """
    if number < 1:
        raise UserError(f"--sentences is {number}, allowed: 1 or more")
    dictionary, limit = bundle.model.dictionary, bundle.model.max_positions()
    if path is None:
        rng = random.Random("sentences to verify an export with")
        words = dictionary.symbols[dictionary.nspecial :]
        lines = [" ".join(rng.choices(words, k=rng.randint(1, min(30, limit - 2)))) for _ in range(number)]
    else:
        lines = [line for line in read_text(path, "text").splitlines() if line.strip()][:number]
    if not lines:
        raise UserError(f"{path} holds no sentence")
    found = []
    for line in lines:
        tokens = dictionary.encode_line(line, add_if_not_exist=False).long()
        found.append(torch.cat([tokens.new_tensor([dictionary.bos()]), tokens])[:limit])
    return found


def run(bundle: Bundle, sentences: Sequence[Tensor]) -> list[Tensor]:
    """Scores every token of each sentence: (length, vocabulary)."""
    return scores(bundle.model, sentences)


@torch.no_grad()
def scores(model: nn.Module, sentences: Sequence[Tensor]) -> list[Tensor]:
    """Likewise, of any model with fairseq's interface."""
    device = next(model.parameters()).device
    return [model(tokens[None].to(device))[0][0].float().cpu() for tokens in sentences]


def compare(first: Sequence[Tensor], second: Sequence[Tensor]) -> Verdict:
    """Compares scores of the same sentences."""
    differences = [
        float((a - b).abs().max()) if a.shape == b.shape else float("inf") for a, b in zip(first, second)
    ]
    limits = [TOLERANCE * max(1.0, float(found.abs().max())) for found in first]
    differing = [index for index, (found, most) in enumerate(zip(differences, limits)) if not found <= most]
    return Verdict(len(first), differing, max(differences, default=0.0))
