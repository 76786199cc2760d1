"""Masked language models from Python: what `torch.hub` loads as `mos_roberta`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from fairseq.data import Dictionary, encoders
from fairseq.data.data_utils import collate_tokens
from omegaconf import OmegaConf
from torch import Tensor, nn

from fairseq_mos import segmentation
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm.texts import MASK
from fairseq_mos.generation import check_text, texts
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.opening import load_bundle
from fairseq_mos.paths import place
from fairseq_mos.ranges import Range


class Filled(NamedTuple):
    """What may stand in the place of a mask: the whole text, its probability, and the word or piece alone."""

    text: str
    probability: float
    token: str


class MaskedLMHub(nn.Module):
    """One dense masked language model: raw text in, words or features out; `.cuda()` and `.half()` work.

    Args:
        model: a subnet, or fairseq's own `roberta`, in eval mode.
        bpe: fairseq's subword encoder; None for text that is segmented already.
        tokenizer: fairseq's tokenizer that comes first, or None.
    """

    def __init__(self, model: nn.Module, bpe, tokenizer):
        super().__init__()
        self.model, self.bpe, self.tokenizer = model, bpe, tokenizer

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary, with the mask."""
        return self.model.encoder.dictionary

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def encode(self, sentence: str, *others: str) -> Tensor:
        """Returns the tokens of a sentence, or of several as one input: `<s> a </s> </s> b </s>`.

        `<mask>` in a text stands for the mask, whatever is around it.

        Raises:
            UserError: what is no text.
        """
        dictionary, parts = self.dictionary, []
        for number, text in enumerate((sentence, *others)):
            check_text("the sentence", text)
            pieces = f" {MASK} ".join(self._segmented(span) for span in text.split(MASK))
            tokens = dictionary.encode_line(pieces, append_eos=False, add_if_not_exist=False).long()
            first = dictionary.eos() if number else dictionary.bos()
            parts += [tokens.new_tensor([first]), tokens, tokens.new_tensor([dictionary.eos()])]
        return torch.cat(parts)

    def decode(self, tokens: Tensor) -> str | list[str]:
        """Returns the text of tokens (length); of several sentences in one input a list.

        Raises:
            UserError: they are no tokens of this model.
        """
        tokens = self._tokens(tokens, "the tokens")
        if tokens.dim() != 1:
            raise UserError(f"the tokens are of shape {tuple(tokens.shape)}, expected one dimension")
        eos, sentences, ids = self.dictionary.eos(), [[]], tokens.tolist()
        for before, token in zip([None, *ids], ids):
            if token == eos and before == eos:
                sentences.append([])
            elif token not in (eos, self.dictionary.bos(), self.dictionary.pad()):
                sentences[-1].append(token)
        found = [self._joined(sentence) for sentence in sentences]
        return found[0] if len(found) == 1 else found

    @torch.no_grad()
    def fill_mask(self, text: str | Sequence[str], topk: int = 5):
        """Fills the one `<mask>` of a text.

        Args:
            text: a text with one `<mask>`, or a list of them.
            topk: how many ways are returned.

        Returns:
            The likeliest ones, each a :class:`Filled`; for a list of texts a list of these.

        Raises:
            UserError: what is no text, too long or without one mask; a topk that is no number of entries.
        """
        dictionary = self.dictionary
        never = [dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.index(MASK)]
        Range(int, 1, len(dictionary) - len(never)).check("topk", topk)
        if not isinstance(text, str):
            return [self.fill_mask(one, topk) for one in texts(text, "text")]
        check_text("the text", text)
        if text.count(MASK) != 1:
            raise UserError(f"the text has {text.count(MASK)} times {MASK}, expected once: {show(text)}")
        tokens = self.encode(text)
        at = int(tokens.eq(never[-1]).nonzero())
        scores, _ = self.model(self._checked(tokens)[None].to(self.device))
        probabilities = scores[0, at].float().softmax(-1).cpu()
        # They stand around a text, and are no answer.
        possible = probabilities.index_fill(0, torch.tensor(never), -1)
        found = []
        for probability, token in zip(*(values.tolist() for values in possible.topk(topk))):
            filled = tokens.clone()
            filled[at] = token
            found.append(Filled(self.decode(filled), probability, self._joined([token])))
        return found

    @torch.no_grad()
    def extract_features(self, text: str | Sequence[str] | Tensor, return_all_hiddens: bool = False):
        """Returns the features of a text, of texts or of tokens that :meth:`encode` returned.

        Args:
            text: a text, a list of texts, tokens (length), or padded ones (batch, length).
            return_all_hiddens: return those of the embeddings and of every layer.

        Returns:
            Features (batch, length, embed); with `return_all_hiddens` a list of those of each layer, whose width may be
            another one.

        Raises:
            UserError: what is neither text nor tokens, or too long.
        """
        if not isinstance(return_all_hiddens, bool):
            raise UserError(f"return_all_hiddens is {show(return_all_hiddens)}, allowed: False, True")
        if torch.is_tensor(text):
            tokens = self._checked(self._tokens(text, "the tokens"))
        else:
            given = [text] if isinstance(text, str) else texts(text, "text")
            if not given:
                raise UserError("there is no text to extract features of")
            tokens = collate_tokens([self._checked(self.encode(one)) for one in given], self.dictionary.pad())
        tokens = tokens.view(-1, tokens.shape[-1]).to(self.device)
        features, extra = self.model(tokens, features_only=True, return_all_hiddens=return_all_hiddens)
        return [state.transpose(0, 1) for state in extra["inner_states"]] if return_all_hiddens else features

    def _segmented(self, text: str) -> str:
        for step in (self.tokenizer, self.bpe):
            text = text if step is None else step.encode(text)
        return text

    def _joined(self, tokens: list[int]) -> str:
        text = " ".join(self.dictionary[token] for token in tokens)
        for step in (self.bpe, self.tokenizer):
            text = text if step is None else step.decode(text)
        return text

    def _tokens(self, tokens: object, name: str) -> Tensor:
        expected = "expected a tensor of encode()"
        good = torch.is_tensor(tokens) and tokens.dtype == torch.long and tokens.dim() in (1, 2) and tokens.numel()
        if not good:
            raise UserError(f"{name}: {show(tokens)}, {expected}")
        if tokens.min() < 0 or tokens.max() >= len(self.dictionary):
            raise UserError(f"{name} go beyond the dictionary's {len(self.dictionary)} entries, {expected}")
        return tokens

    def _checked(self, tokens: Tensor) -> Tensor:
        longest = self.model.max_positions()
        if tokens.shape[-1] > longest:
            raise UserError(f"the input has {tokens.shape[-1]} tokens, allowed: {longest} (the model's positions)")
        return tokens


def load(
    checkpoint: str | Path,
    architecture: str | None = None,
    data: str | None = None,
    bpe: str | None = None,
    tokenizer: str | None = None,
    trust: bool = False,
) -> MaskedLMHub:
    """Loads a masked language model.

    Args:
        checkpoint: a dense checkpoint, a supernet, or an exported folder.
        architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.
        data: folder with dictionary and subword model (default: beside the checkpoint, then where it was trained).
        bpe: `none` for text that is segmented already; by default what lies beside the checkpoint.
        tokenizer: fairseq's name of the tokenizer before the subwords, such as `moses`.
        trust: see :func:`fairseq_mos.models.opening.open_model`.

    Raises:
        UserError: unusable input, another kind of model, or no subword model.
    """
    checkpoint, data = place("checkpoint", checkpoint), place("data", data)
    architecture = place("architecture", architecture)
    return of_bundle(load_bundle(checkpoint, architecture, data, trust), bpe, tokenizer)


def of_bundle(bundle: Bundle, bpe: str | None = None, tokenizer: str | None = None) -> MaskedLMHub:
    """Like :func:`load`, for a model that is loaded already."""
    bundle.require("masked_lm", "fills no masks (torch.hub: see hubconf.py)")
    subwords, words = segmentation.configurations(bundle, bpe, tokenizer)
    return MaskedLMHub(
        bundle.model,
        subwords and encoders.build_bpe(OmegaConf.create(subwords)),
        words and encoders.build_tokenizer(OmegaConf.create(words)),
    ).eval()
