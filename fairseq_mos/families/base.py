"""What the rest of the package asks of a model family.

Objects of rooms above (settings of `cost/`, what `models/` opens, an evaluator of `search/`) are named in texts
and not in annotations: nothing here is to know those rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.arch.costs import VOCABULARY, Cost, counted
from fairseq_mos.arch.schema import Schema
from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor, nn

    from fairseq_mos.families.texts import Texts


class DrawnLayer(NamedTuple):
    """A layer as pictures show it.

    Attributes:
        width: of its feed-forward block.
        heads: of its self-attention.
        words: written beside it.
    """

    width: int
    heads: int
    words: str


class DrawnStack(NamedTuple):
    """A stack as pictures show it: its name, its width and its layers."""

    name: str
    width: int
    layers: list[DrawnLayer]


class Family:
    """A kind of models: its shape, what it costs, and what it is run with.

    A family is one object of a subclass; what is heavy is imported inside its methods.

    Attributes:
        schema: the shape of its networks; its name is the family's.
        mean_names: names of :func:`fairseq_mos.cost.features.mean_features`, columns of tables.
        models: names in fairseq's registry of the models that are read: ours, and fairseq's own of that kind.
    """

    schema: Schema
    mean_names: tuple[str, ...]
    models: tuple[str, ...] = ()

    def sizing(self, **options) -> Any:
        """Returns what costs depend on besides the architecture: lengths, vocabularies, options of the model.

        Raises:
            UserError: options that contradict each other.
        """
        raise NotImplementedError

    def sizing_of(self, model) -> Any:
        """Returns the sizing of a model."""
        raise NotImplementedError

    def costs(self, arch: Architecture, sizing: Any) -> Iterator[Cost]:
        """Yields what each part of the dense subnet costs."""
        raise NotImplementedError

    def counts(self, arch: Architecture, sizing: Any = None) -> dict[str, int]:
        """Returns `params`, `params_no_embed` and `flops` (2 x MACs of one pass of one sentence) of the dense subnet.

        FLOPs are without the output layer; parameters are without embeddings where no vocabulary is given.
        """
        costs = list(self.costs(arch, sizing or self.sizing()))
        counts = counted(costs)
        flops = 2 * sum(cost.macs for cost in costs if cost.kind not in VOCABULARY)
        return {"params": counts.total, "params_no_embed": counts.no_embed, "flops": flops}

    def flops(self, arch: Architecture) -> int:
        """Returns the FLOPs of :meth:`counts`."""
        return self.counts(arch)["flops"]

    def products(self, means: Sequence[float], depths: Sequence[int]) -> list[float]:
        """Extends means over layers by what the time of a pass is close to linear in.

        Args:
            means: see :func:`fairseq_mos.cost.features.mean_features`.
            depths: most layers of each stack of the search space.
        """
        return list(means)

    # Pages.

    def drawing(self, arch: Architecture) -> list[DrawnStack]:
        """Returns what a picture of an architecture shows; nothing: there is none."""
        return []

    def facts(self, config: Callable[..., Any], weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Returns what a page says of a supernet's training that only this family has.

        Args:
            config: (group, option, default) -> an option of fairseq's configuration.
            weights: the supernet's.
        """
        return {}

    # What runs. Models are dense and in eval mode, unless said otherwise.

    def steps(self, model: nn.Module, settings: Any, inputs: Sequence, seed: int) -> list[Callable]:
        """Returns the parts of a pass that are timed, one after the other.

        By default the whole pass of one sentence is one part. `settings` are a
        :class:`fairseq_mos.cost.latency.LatencySettings`; their protocol says what is timed.
        """
        return [lambda: self.run(model, settings.source_tokens, settings.target_tokens, True)]

    def decoding(self, model: nn.Module, settings: Any, device: str) -> Callable[..., object]:
        """Returns the use of a model whose memory is told; its argument is called between steps.

        By default that is the pass of one sentence. `settings` are a :class:`fairseq_mos.cost.memory.MemorySettings`.
        """

        def use(between: Callable[[], None] = lambda: None) -> None:
            self.run(model, settings.source_tokens, settings.target_tokens, True)
            between()

        return use

    def update(self, model: nn.Module, optimizer, settings: Any, device: str) -> Callable[..., object]:
        """Returns an update of a model in training mode; its argument is called at the end."""
        raise NotImplementedError

    def run(self, model: nn.Module, source_tokens: int, target_tokens: int, output_layer: bool) -> None:
        """Runs the pass whose FLOPs :meth:`counts` tells."""
        raise NotImplementedError

    def embeddings(self, model: nn.Module) -> Iterable[nn.Parameter]:
        """Yields the parameters that counts without embeddings leave out."""
        raise NotImplementedError

    def tables(self, model: nn.Module) -> dict[str, object]:
        """Returns what signatures say of a model's vocabulary."""
        return {"vocabulary": self.vocabulary(model)}

    def vocabulary(self, model: nn.Module) -> int:
        """Returns how many entries the output layer scores."""
        raise NotImplementedError

    def random(self, vocabulary: int, share: str) -> Callable[[Architecture], nn.Module]:
        """Returns what builds dense models with random weights: their costs do not depend on what weights say.

        Raises:
            UserError: an impossible vocabulary.
        """
        raise NotImplementedError

    def sentences(self, model: nn.Module, data: str | None, split: str, count: int) -> Sequence:
        """Returns inputs for the protocols that take real ones.

        Raises:
            UserError: no data, or of another model.
        """
        raise NotImplementedError

    # Quality.

    def evaluator(self, opened: Any, data: str, split: str, max_tokens: int, cpu: bool, precision: str) -> Any:
        """Returns what measures subnets on a split, a :class:`fairseq_mos.search.evaluator.LossEvaluator`.

        `opened` is the supernet's :class:`fairseq_mos.models.opening.Opened`.

        Raises:
            UserError: data that is missing or does not fit.
        """
        raise NotImplementedError

    # Files.

    def texts(self) -> type[Texts]:
        """Returns what stands between raw text and the models' tokens."""
        raise NotImplementedError

    def parts(self) -> dict[str, tuple[str, type]]:
        """Returns `model`, `task` and `criterion` of a subnet: the name in fairseq's registry, and its options."""
        raise NotImplementedError

    def task(
        self, dictionaries: tuple[Path, ...], weights: Mapping[str, Tensor], where: str, options: Mapping | None = None
    ) -> Any:
        """Returns what fairseq's `build_model` asks of a task.

        Args:
            dictionaries: their files.
            weights: the model's; tensors with several names may stand once.
            where: they come from.
            options: of the task that the model was trained for.

        Raises:
            UserError: the weights are of another family, or the dictionaries do not fit them.
        """
        raise NotImplementedError

    def network(self, options: Any, task: Any, architecture: Architecture) -> nn.Module:
        """Builds a subnet with random weights by the options that :meth:`parts` names."""
        raise NotImplementedError

    def probe(self) -> ModuleType:
        """Returns what tells whether an export answers as the original does.

        It has `read_sentences(bundle, path, number)`, which returns inputs; `run(bundle, inputs)`, which returns
        answers; `compare(first, second)`, which returns a verdict with `differing`, the places of those that differ.
        """
        raise NotImplementedError

    def read_csv(self, path: str, space: SearchSpace, device: str) -> Any:
        """Reads latencies that others have published, as :class:`fairseq_mos.cost.predictor.Measurements`.

        Raises:
            UserError: no such file, or none of that kind.
        """
        raise UserError(f"{path}: there are no published latencies of this family ({self.schema.family})")

    def card(self, bundle: Any) -> str:
        """Returns a model card to start from, Markdown, of a :class:`fairseq_mos.models.bundle.Bundle`."""
        raise NotImplementedError
