"""BLEU and chrF of an architecture with the weights that it inherits from the supernet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from fairseq import utils
from fairseq.tasks import FairseqTask
from omegaconf import OmegaConf
from torch import nn

from fairseq_mos.arch import Architecture
from fairseq_mos.metrics.bleu import bleu_metric
from fairseq_mos.search.scoring import ScorerOptions


class TranslationScorer:
    """Translates a split with beam search and scores the result with sacreBLEU.

    References are what fairseq-preprocess stored: unknown words stay unknown in them. That is good enough to
    compare candidates; final scores are computed against raw text.

    Args:
        model: the supernet.
        task: fairseq's, with the dictionaries and the target language.
        batches: of the split, on the model's device.
        options: how to translate; without a kind of subwords, the target side tells it, see :func:`subwords_of`.

    Raises:
        UserError: a target language whose tokeniser is not installed.
    """

    def __init__(self, model: nn.Module, task: FairseqTask, batches: Sequence[dict], options: ScorerOptions):
        from sacrebleu.metrics import CHRF

        self._model, self._task, self._batches, self._beam = model, task, batches, options.beam
        bleu = bleu_metric(task.cfg.target_lang, "search for chrf")
        self._metrics = {"bleu": bleu, "chrf": CHRF()}
        settings = OmegaConf.create({"beam": options.beam, "max_len_a": 1.2, "max_len_b": 10, "print_alignment": None})
        self._generator = task.build_generator([model], settings)
        pad = self._dictionary.pad()
        targets = [target[target.ne(pad)] for batch in batches for target in batch["target"].cpu()]
        self._post_process = options.post_process or subwords_of(self._dictionary.symbols, targets)
        self._references = [self._text(target, escape_unk=True) for target in targets]

    @property
    def _dictionary(self):
        return self._task.target_dictionary

    def signature(self) -> dict[str, str]:
        """Returns what the scores depend on, sacreBLEU's own signatures among them."""
        for metric in self._metrics.values():
            metric.corpus_score(["a"], [["a"]])
        found = {f"{name}_signature": str(metric.get_signature()) for name, metric in self._metrics.items()}
        return {"beam": str(self._beam), "post_process": self._post_process, **found}

    @torch.no_grad()
    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Returns `bleu` and `chrf`, 0 to 100."""
        hypotheses = [self._text(tokens) for tokens in self.translate(architecture)]
        return {
            name: metric.corpus_score(hypotheses, [self._references]).score for name, metric in self._metrics.items()
        }

    def translate(self, architecture: Architecture) -> list[torch.Tensor]:
        """Returns the best hypothesis of each sentence, in the order of the references."""
        self._model.eval()
        self._model.activate(architecture)
        found = []
        for batch in self._batches:
            generated = self._task.inference_step(self._generator, [self._model], batch)
            found += [hypotheses[0]["tokens"].cpu() for hypotheses in generated]
        return found

    def _text(self, tokens: torch.Tensor, escape_unk: bool = False) -> str:
        tokens = utils.strip_pad(tokens.int(), self._dictionary.pad())
        # As in fairseq's --eval-bleu: an unknown word in the reference must not match one in a hypothesis.
        unknown = "UNKNOWNTOKENINREF" if escape_unk else "UNKNOWNTOKENINHYP"
        return self._dictionary.string(tokens, self._post_process, unk_string=unknown)


def subwords_of(symbols: Sequence[str], sentences: Iterable[torch.Tensor]) -> str:
    """Returns fairseq's name for the kind of subwords that sentences consist of: those that joining needs to know.

    sentencepiece marks where words begin, and thus the beginning of every sentence; subword-nmt marks words that go
    on. A dictionary alone does not tell: that of a character model has one marked entry, as have words among which
    the mark stands by chance.

    Args:
        symbols: of the dictionary.
        sentences: entries of the dictionary, each sentence a tensor.
    """
    begins = torch.tensor([symbol.startswith("\u2581") for symbol in symbols])
    marked = [bool(begins[sentence.long()].any()) for sentence in sentences]
    if sum(marked) > 0.5 * len(marked):
        return "sentencepiece"
    return "subword_nmt" if any(len(s) > 2 and s.endswith("@@") for s in symbols) else "none"
