"""What an export has to answer as the original does: greedy translations and their scores."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from fairseq_mos.documents import read_text
from fairseq_mos.errors import UserError
from fairseq_mos.models.bundle import Bundle

MAX_LENGTH = 200
"""Tokens after which a translation is cut."""


@dataclass(frozen=True)
class Translation:
    """A greedy translation: its tokens without the end of sentence, and the mean log-probability of a token."""

    tokens: list[str]
    score: float


@dataclass(frozen=True)
class Verdict:
    """The comparison of two routes.

    Attributes:
        sentences: how many were translated.
        differing: places of those whose tokens differ.
        score_difference: largest absolute difference of the scores of the others; base e, mean over tokens.
    """

    sentences: int
    differing: list[int]
    score_difference: float

    def __str__(self) -> str:
        same = "all" if not self.differing else f"{self.sentences - len(self.differing)} of"
        return (
            f"{same} {self.sentences} greedy translations have the original's tokens; their scores differ by at most "
            f"{self.score_difference:.1e} (mean log-probability of a token)"
        )


def read_sentences(bundle: Bundle, path: str | None, number: int) -> list[list[str]]:
    """Returns source sentences as subword tokens: the first ones of a raw text, or made-up ones.

    Lines without any token are left out: CTranslate2 answers them without asking the model.

    Raises:
        UserError: an unreadable file, no sentences, or text without a subword model.
    """
    if number < 1:
        raise UserError(f"--sentences is {number}, allowed: 1 or more")
    dictionary = bundle.model.encoder.dictionary
    if path is None:
        rng = random.Random("sentences to verify an export with")
        words = dictionary.symbols[dictionary.nspecial :]
        return [rng.choices(words, k=rng.randint(1, 30)) for _ in range(number)]
    from fairseq_mos import hub

    lines = read_text(path, "text").splitlines()
    interface = hub.of_bundle(bundle)
    # Words that are not in the dictionary are unknown to each route; what they look like differs.
    tokens = (dictionary.string(interface.encode(line)).split() for line in lines)
    sentences = list(itertools.islice(filter(None, tokens), number))
    if not sentences:
        raise UserError(f"{path} holds no sentence")
    return sentences


def run(bundle: Bundle, sentences: Sequence[list[str]]) -> list[Translation]:
    """Translates greedily with fairseq's generator."""
    from fairseq_mos import hub

    interface = hub.of_bundle(bundle, bpe="none", tokenizer=None)
    dictionary = interface.tgt_dict
    tokens = [interface.binarize(" ".join(sentence)) for sentence in sentences]
    found = []
    for hypotheses in interface.generate(tokens, beam=1, min_len=0, max_len_a=0, max_len_b=MAX_LENGTH):
        best = hypotheses[0]
        symbols = [dictionary[int(token)] for token in best["tokens"] if int(token) != dictionary.eos()]
        found.append(Translation(symbols, float(best["score"])))
    return found


def compare(first: Sequence[Translation], second: Sequence[Translation]) -> Verdict:
    """Compares translations of the same sentences."""
    # At the limit fairseq's generator adds the end of the sentence, and its score; CTranslate2 does not.
    differing = [index for index, (a, b) in enumerate(zip(first, second)) if a.tokens != b.tokens]
    same = [(a, b) for a, b in zip(first, second) if a.tokens == b.tokens and len(a.tokens) < MAX_LENGTH]
    scores = [abs(a.score - b.score) for a, b in same]
    return Verdict(len(first), differing, max(scores, default=0.0))
