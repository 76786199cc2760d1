"""fairseq's hub interface, whose arguments are checked before work starts: what is wrong shows in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import torch
from fairseq.hub_utils import GeneratorHubInterface

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError
from fairseq_mos.ranges import BEAM, LENGTH, LENPEN, VOCABULARY, Range

MAX_CHARACTERS = 100_000
"""Of a sentence: more than any model's positions, and little enough for every tokenizer."""

NUMBERS = {
    "beam": BEAM,
    "nbest": BEAM,
    "min_len": Range(int, 0, LENGTH.high),
    "max_len_a": Range(float, 0.0, 1000.0),
    "max_len_b": Range(int, 0, LENGTH.high),
    "lenpen": LENPEN,
    # e to this power is still a number.
    "unkpen": Range(float, -50.0, 1e6),
    "temperature": Range(float, 1e-3, 1e3),
    "no_repeat_ngram_size": Range(int, 0, 1000),
    "sampling_topk": Range(int, -1, VOCABULARY.high),
    "sampling_topp": Range(float, -1.0, 1.0),
    "diverse_beam_groups": Range(int, -1, BEAM.high),
    "diverse_beam_strength": Range(float, -100.0, 100.0),
    "diversity_rate": Range(float, -1.0, 100.0),
}
FLAGS = ("sampling", "match_source_len", "unnormalized", "retain_dropout")
_ALIGNMENTS = ("hard", "soft")
_NAMES = (*NUMBERS, *FLAGS, "print_alignment", "retain_dropout_modules")
# Each is a search of its own, with the value from which on it is used.
_SEARCHES = {"sampling": True, "match_source_len": True, "diverse_beam_groups": 1, "diversity_rate": 1e-9}
_LENGTHS = {"min_len": 1, "max_len_a": 0, "max_len_b": 200}  # fairseq's


class CheckedHub(GeneratorHubInterface):
    """fairseq's interface for one translation model."""

    _sources: Set = frozenset()

    def sample(self, sentences: str | Iterable[str], beam: int = 1, verbose: bool = False, **options) -> Any:
        """Translates raw text; see :meth:`generate` for the options.

        Raises:
            UserError: what is no text, too long, or an option that cannot be.
        """
        if isinstance(sentences, str):
            return self.sample([sentences], beam, verbose, **options)[0]
        return super().sample(texts(sentences, "source"), beam, verbose, **options)

    def generate(
        self,
        tokenized_sentences: torch.Tensor | Iterable[torch.Tensor],
        beam: int = 5,
        verbose: bool = False,
        skip_invalid_size_inputs: bool = False,
        inference_step_args: dict | None = None,
        prefix_allowed_tokens_fn=None,
        **options,
    ) -> list:
        """Translates what :meth:`encode` returned.

        Args:
            tokenized_sentences: one, or several.
            beam: beam size.
            verbose: log sources and translations.
            skip_invalid_size_inputs: leave out sources with more tokens than the model's positions.
            inference_step_args: what fairseq's `inference_step` takes besides.
            prefix_allowed_tokens_fn: see fairseq's `build_generator`.
            **options: fairseq's generation options.

        Raises:
            UserError: an option that fairseq's generator does not have, or that is out of range; tokens that are
                none of the source dictionary.
        """
        if torch.is_tensor(tokenized_sentences) and tokenized_sentences.dim() == 1:
            return self.generate(
                [tokenized_sentences], beam, verbose, skip_invalid_size_inputs, inference_step_args,
                prefix_allowed_tokens_fn, **options,
            )[0]  # fmt: skip
        if prefix_allowed_tokens_fn is not None and not callable(prefix_allowed_tokens_fn):
            raise UserError(f"prefix_allowed_tokens_fn is {show(prefix_allowed_tokens_fn)}, expected a function")
        if not isinstance(inference_step_args, (dict, type(None))):
            raise UserError(f"inference_step_args is {show(inference_step_args)}, expected a dictionary")
        sentences = self._tokens(tokenized_sentences)
        if skip_invalid_size_inputs:
            sentences = [tokens for tokens in sentences if len(tokens) <= self.max_positions[0]]
        self._check({"beam": beam, **options}, sentences)
        if not sentences:
            return []
        self._sources = {id(tokens) for tokens in sentences}
        try:
            return super().generate(
                sentences, beam, verbose, skip_invalid_size_inputs, inference_step_args, prefix_allowed_tokens_fn,
                **options,
            )  # fmt: skip
        except (RuntimeError, IndexError) as error:
            refusal = _explained(error, options)
            if refusal is None:
                raise
            raise refusal from error
        finally:
            self._sources = frozenset()

    def string(self, tokens: torch.Tensor) -> str:
        # fairseq's log writes sources with the target's dictionary.
        dictionary = self.src_dict if id(tokens) in self._sources else self.tgt_dict
        return dictionary.string(tokens)

    def encode(self, sentence: str) -> torch.LongTensor:
        check_text("the sentence", sentence)
        return super().encode(sentence)

    def _tokens(self, sentences: torch.Tensor | Iterable[torch.Tensor]) -> list[torch.Tensor]:
        expected = "expected tensors of encode()"
        if not isinstance(sentences, Iterable) or (torch.is_tensor(sentences) and sentences.dim() != 2):
            raise UserError(f"the sources are {show(sentences)}, {expected}")
        found = list(sentences)
        for number, tokens in enumerate(found, 1):
            if not torch.is_tensor(tokens) or tokens.dim() != 1 or tokens.dtype != torch.long or not len(tokens):
                raise UserError(f"source {number} is {show(tokens)}, {expected}")
            if tokens.min() < 0 or tokens.max() >= len(self.src_dict):
                raise UserError(f"source {number} has tokens beyond its dictionary's {len(self.src_dict)}, {expected}")
        return found

    def _check(self, options: dict, sentences: list[torch.Tensor]) -> None:
        check_options(options)
        # The defaults lie beside the weights, whoever wrote them.
        defaults = {name: value for name, value in self.cfg.generation.items() if value is not None}
        check_options({name: value for name, value in defaults.items() if name in (*NUMBERS, "print_alignment")})
        values = {**defaults, **options}
        check_together(values, len(self.tgt_dict))
        least, slope, more = (values.get(name, number) for name, number in _LENGTHS.items())
        positions = self.max_positions[1] - 1
        for number, tokens in enumerate(sentences, 1):
            most = len(tokens) if values.get("match_source_len") else min(int(slope * len(tokens) + more), positions)
            if least > most:
                raise UserError(
                    f"min_len is {least}, but the translation of source {number} has {most} tokens at most (see "
                    "max_len_a, max_len_b and the model's positions)"
                )


def check_options(options: Mapping[str, object]) -> None:
    """Checks fairseq's generation options one by one.

    Raises:
        UserError: there is no such option, or it cannot have this value.
    """
    for name, value in options.items():
        allowed = None
        if name in NUMBERS:
            NUMBERS[name].check(name, value)
        elif name in FLAGS:
            allowed = None if isinstance(value, bool) else "False, True"
        elif name == "print_alignment":
            good = value is None or (isinstance(value, str) and value in _ALIGNMENTS)
            allowed = None if good else ", ".join(("None", *_ALIGNMENTS))
        elif name == "retain_dropout_modules":
            names = value if isinstance(value, Sequence) and not isinstance(value, str) else [None]
            good = value is None or all(isinstance(module, str) for module in names)
            allowed = None if good else "None or a list of names"
        else:
            raise UserError(f"there is no option {show(name)[1:-1]}, allowed: {', '.join(sorted(_NAMES))}")
        if allowed:
            raise UserError(f"{name} is {show(value)}, allowed: {allowed}")


def check_together(values: Mapping[str, Any], vocabulary: int) -> None:
    """Checks options, each of which is fine for itself, together.

    Args:
        values: the options.
        vocabulary: entries of the target dictionary.

    Raises:
        UserError: they contradict each other.
    """
    used = [name for name, least in _SEARCHES.items() if values.get(name, -1) >= least]
    if len(used) > 1:
        raise UserError(f"{' and '.join(used)} exclude each other")
    for name in ("sampling_topk", "sampling_topp"):
        if values.get(name, -1) >= 0 and not values.get("sampling"):
            raise UserError(f"{name} needs sampling=True")
    if values.get("sampling_topk", -1) > vocabulary:
        raise UserError(f"sampling_topk is {values['sampling_topk']}, but the dictionary has {vocabulary} entries")
    # fairseq's beams are no more than the words to choose from.
    beam, groups = min(values["beam"], vocabulary - 1), values.get("diverse_beam_groups", -1)
    if groups > 0 and beam % groups:
        raise UserError(f"beam is {beam}, allowed: a multiple of diverse_beam_groups, {groups}")
    if values.get("diversity_rate", -1) > -1 and 2 * beam > vocabulary:
        raise UserError(f"beam is {beam}, allowed with diversity_rate: half of the dictionary's {vocabulary} entries")
    beam = values["beam"]
    if values.get("nbest", 1) > beam:
        raise UserError(f"nbest is {values['nbest']}, allowed: beam at most, {beam}")


def _explained(error: Exception, options: Mapping[str, object]) -> UserError | None:
    """Returns what to say where fairseq's generator fails because of the model's probabilities."""
    if options.get("sampling") and isinstance(error, RuntimeError) and "probab" in str(error):
        return UserError("there is no word to draw, all probabilities round to 0: give a higher temperature")
    if options.get("print_alignment") and isinstance(error, IndexError):
        return UserError("print_alignment: a source has fewer translations than beam: give a smaller beam")
    return None


def check_text(name: str, text: object) -> None:
    """Checks that something is a text that can be translated.

    Raises:
        UserError: it is not.
    """
    if not isinstance(text, str):
        raise UserError(f"{name} is {show(text)}, expected a text")
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{name} has {len(text):,} characters, allowed: {MAX_CHARACTERS:,}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"{name} is no valid Unicode text: {show(text)}") from None


def texts(sentences: Iterable[str], side: str) -> list[str]:
    """Returns sentences as a list.

    Raises:
        UserError: they are none.
    """
    if isinstance(sentences, (bytes, Mapping, Set)) or not isinstance(sentences, Iterable):
        raise UserError(f"the {side} is {show(sentences)}, expected a text or a list of texts")
    found = list(sentences)
    for number, sentence in enumerate(found, 1):
        check_text(f"{side} {number}", sentence)
    return found
