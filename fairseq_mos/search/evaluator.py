"""The validation loss of an architecture with the weights that it inherits from the supernet."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.download import file_digest
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.models.config import method
from fairseq_mos.modules.recall import Recall, Step
from fairseq_mos.ranges import TOKENS
from fairseq_mos.search.racing import Sums, clearly_worse, estimate, means
from fairseq_mos.version import __version__

KEPT_BYTES = 1 << 29
"""Of outputs that architectures have in common, at most."""

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def placed(model: nn.Module, max_tokens: int, cpu: bool, precision: str) -> torch.device:
    """Moves a supernet to where it is measured, and returns the device.

    Args:
        model: the supernet.
        max_tokens: tokens of a batch, at most.
        cpu: stay on the CPU where there is a GPU.
        precision: a key of `_DTYPES`; only `fp32` on a CPU.

    Raises:
        UserError: a precision or a number of tokens that is not allowed.
    """
    TOKENS.check("--max-tokens", max_tokens)
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    if precision != "fp32" and device.type == "cpu":
        raise UserError(f"--{precision} needs a GPU: on the CPU, half precision is slower and less exact")
    model.to(device, _DTYPES[precision])
    return device


def check_lengths(where: str, lengths: Sequence[int], max_tokens: int) -> None:
    """Checks the longest sentence of a split against the size of a batch.

    Raises:
        UserError: it is longer.
    """
    if max(lengths) > max_tokens:
        raise UserError(f"{where}: the longest sentence has {max(lengths)} tokens: raise --max-tokens to it")


class Scorer(Protocol):
    """Measures what takes more than a pass, for objectives such as BLEU: what the model writes, or learns."""

    def signature(self) -> dict[str, str]:
        """Returns what the scores depend on."""

    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Returns the scores by name."""


@dataclass(eq=False)
class LossEvaluator:
    """Measures architectures of one supernet on one split of one data set; a family makes the batches.

    The model stays in eval mode and its weights are only read.

    Attributes:
        model: the supernet, on its device and in its precision.
        batches: the split.
        batch_loss: batch -> sums over it, for the active architecture.
        counts: architecture -> the parameters and FLOPs of its subnet.
        workload: what latency depends on besides architecture, device and settings.
        data_digest: of the split's sentences.
        path: the supernet's checkpoint.
        split: name of the split.
        max_tokens: tokens of a batch (sums of floats depend on it, and on the number of batches).
        precision: `fp32`, `fp16` or `bf16`.
        order: of the batches; always the same.
        recall: keeps what architectures have in common, see :meth:`expect`.
    """

    model: Any
    batches: Sequence[dict]
    batch_loss: Callable[[dict], Sums]
    data_digest: str
    path: str
    split: str
    max_tokens: int
    precision: str

    def __post_init__(self) -> None:
        self.space: SearchSpace = self.model.space
        family = family_of(self.space)
        self.counts = partial(family.counts, sizing=family.sizing_of(self.model))
        self.workload = {"vocabulary": family.vocabulary(self.model)}
        self.device = next(self.model.parameters()).device
        # A batch holds sentences of one length: in this order, any part of them is a fair sample.
        self.order = random.Random("order of batches").sample(range(len(self.batches)), len(self.batches))
        self._known: dict[Architecture, list[Sums]] = {}
        self.recall = Recall(KEPT_BYTES)
        self._places: dict[Architecture, int] = {}

    @torch.no_grad()
    def expect(self, architectures: Sequence[Architecture]) -> None:
        """Tells what will be evaluated next, in this order: outputs of layers that are alike are computed once.

        That changes no value, to the last bit. Others may be evaluated in between.
        """
        self._evaluating()
        self._places = {architecture: place for place, architecture in enumerate(architectures)}

        def steps(architecture: Architecture) -> list[Step]:
            self.model.activate(architecture)
            return list(self.model.steps())

        self.recall.expect(map(steps, architectures))

    def scorer(self, options: Any) -> Scorer:
        """Returns what measures the quantities of :data:`fairseq_mos.search.quantities.SCORES`."""
        raise NotImplementedError

    def signature(self) -> dict[str, object]:
        """Returns supernet, data, device and versions behind the values.

        Contents count and places do not: a moved checkpoint or data set is the same one.
        """
        about = method(self.model.cfg)
        return {
            **about,
            "experts": int(about["experts"]),
            "supernet": f"sha256-{file_digest(self.path)[:16]}",
            "data": self.data_digest,
            "split": self.split,
            "max_tokens": self.max_tokens,
            "batches": len(self.batches),
            "device": self.device.type,
            "precision": self.precision,
            "torch": torch.__version__,
            "fairseq_mos": __version__,
        }

    @torch.no_grad()
    def evaluate(self, architecture: Architecture) -> dict[str, float]:
        """Returns `loss` (the criterion's, with its label smoothing) and `nll_loss` (without).

        Both are base 2: `loss` per unit of the criterion's sample size (a token, unless the supernet was
        trained with `--sentence-avg`), `nll_loss` per target token.
        """
        return means(self._sums(architecture))

    @torch.no_grad()
    def race(self, architecture: Architecture, incumbent: Architecture) -> dict[str, float]:
        """Like :meth:`evaluate`, but stops where the architecture is clearly worse than the incumbent.

        Batches are visited in a random order that is always the same, and compared pairwise, see
        :func:`fairseq_mos.search.racing.clearly_worse`.

        Returns:
            `loss`, `nll_loss` and `raced`: 0 where the whole split was used; 1 where `loss` and `nll_loss` are
            estimates: the incumbent's plus the mean difference so far.
        """
        # On several ranks, and in a continued search, another process may have evaluated it.
        against = self._known.get(incumbent) or self._sums(incumbent)
        found = self._sums(architecture, lambda sums: clearly_worse(sums, against, len(self.batches)))
        if len(found) == len(self.batches):
            return {**means(found), "raced": 0.0}
        return {**estimate(found, against), "raced": 1.0}

    def _evaluating(self) -> None:
        # Going to eval mode drops what is kept of the weights, also where the model is in it.
        if self.model.training:
            self.model.eval()

    def _sums(self, architecture: Architecture, stop: Callable[[list[Sums]], bool] | None = None) -> list[Sums]:
        """Returns the sums of each batch, in :attr:`order`, up to where `stop` says so."""
        self._evaluating()
        self.model.activate(architecture)
        found: list[Sums] = []
        # Where nothing was announced there is nothing to share; a dense model cannot even say what it would be.
        steps = self.model.steps() if self._places else ()
        with self.recall.during(steps, self._places.get(architecture)):
            for place in self.order:
                self.recall.at(place)
                found.append(self.batch_loss(self.batches[place]))
                if stop is not None and stop(found):
                    break
        if len(found) == len(self.batches):
            # A few numbers each: whatever was evaluated may become what others race against.
            self._known[architecture] = found
        return found
