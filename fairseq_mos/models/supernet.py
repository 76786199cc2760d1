"""What supernets of all families have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.encoding import encode, encoding_dim
from fairseq_mos.errors import UserError
from fairseq_mos.fields import check_fields
from fairseq_mos.models.config import refuse_unsupported
from fairseq_mos.models.definitions import add_missing
from fairseq_mos.modules.block import collapse
from fairseq_mos.modules.gates import gates_of
from fairseq_mos.modules.leaves import ElasticLeaves, LeafOptions
from fairseq_mos.modules.residuals import with_residuals
from fairseq_mos.modules.routing import Routing
from fairseq_mos.modules.trainable import SUPERNET_PARTS, freeze

SizesOf = Callable[[Architecture], Sequence[tuple[str, int]]]


def elastic_leaves(cfg, space: SearchSpace, options: LeafOptions | None = None) -> ElasticLeaves:
    """Returns what makes the leaves of a supernet by the options of :class:`fairseq_mos.models.config.SupernetConfig`.

    Raises:
        UserError: an unknown routing, scope or modulation, or a gene that cannot be split by.
    """
    gates, experts = gates_of(space, str(cfg.routing), cfg.split_gene, str(cfg.expert_scope))
    if gates is not None:
        # Signatures and reports read it there.
        cfg.num_experts = experts
    return ElasticLeaves(
        str(cfg.routing),
        cfg.num_experts,
        encoding_dim(space, str(cfg.arch_encoding)),
        cfg.router_hidden_dim,
        cfg.router_dropout,
        str(cfg.expert_init),
        str(cfg.expert_scope),
        str(cfg.modulation),
        cfg.modulation_hidden_dim,
        cfg.expert_rank,
        gates,
        options or LeafOptions(),
    )


def read_space(cfg, kind: type, model: type, sizes_of: SizesOf) -> SearchSpace:
    """Returns the search space of a supernet's options, which are checked.

    Args:
        cfg: the options.
        kind: their dataclass.
        model: the supernet's class; its `family` is the space's.
        sizes_of: architecture -> what fairseq's size flags would have to say.

    Raises:
        UserError: no or a malformed search space, contradicting flags or a number out of range.
    """
    check_options(cfg, kind)
    source = cfg.search_space_definition or cfg.search_space
    if not source:
        raise UserError(f"{cfg._name or model.__name__} needs a search space: give --search-space NAME or FILE")
    space = SearchSpace.load(source)
    check_family(space, model, f"--search-space {space.name}")
    refuse_unsupported(cfg, sizes_of(space.largest()), f"search space {space.name!r}")
    return space


def check_options(cfg, kind: type) -> None:
    """Completes options by those that earlier versions lack, and checks their ranges.

    Raises:
        UserError: a number out of range.
    """
    add_missing(cfg, kind)
    check_fields(cfg, kind)


def check_family(shape: SearchSpace | Architecture, model: type, what: str) -> None:
    """Checks that a model is given a search space or an architecture of its family.

    Args:
        shape: the space or architecture.
        model: the model's class.
        what: to call it in the message.

    Raises:
        UserError: it is of another one.
    """
    if shape.schema.family != model.family:
        raise UserError(f"{what} is of family {shape.schema.family}, allowed: {model.family}")


def set_missing(args, **values) -> None:
    """Sets options of a named architecture that were not given."""
    for name, value in values.items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)


class Supernet:
    """Mixed into models with elastic leaves: one architecture is active at a time, the largest after building.

    A family's model comes after it among the base classes, and has a configuration `cfg`,
    `resize(architecture)`, which hands its stacks their sizes, and `dense_model(architecture)`, the same model with
    dense leaves.

    Attributes:
        space: the search space.
        architecture: the active one.
        routings: of all layers, and of the stacks' leaves that are in none.
    """

    def begin(self, space: SearchSpace) -> None:
        """Freezes what is not trained and makes the largest architecture the active one, at the end of construction.

        Raises:
            UserError: nothing is left to train, or not with recomputed activations.
        """
        if str(self.cfg.trainable) != "all" and getattr(self.cfg, "checkpoint_activations", False):
            # fairseq's layers that recompute are not trained where no input of theirs is.
            raise UserError(f"--trainable {self.cfg.trainable} does not go with --checkpoint-activations")
        freeze(self, SUPERNET_PARTS[str(self.cfg.trainable)])
        self.space = space
        # Resuming with an edited search space would slice the weights wrongly and silently.
        # fairseq's EMA averages all tensors but those with "version" in their name, and fails on integers.
        self.register_buffer("search_space_version", torch.tensor(int(space.digest()[:8], 16)))
        self.architecture: Architecture | None = None
        # In a tuple, so that they are no submodules here; looking for them takes longer than an activation may.
        self.routings = tuple(part for part in self.modules() if isinstance(part, Routing))
        self.activate(space.largest())

    def activate(self, architecture: Architecture, encoding: Sequence[float] | None = None) -> None:
        """Makes `architecture` the active one, for all that follows.

        Args:
            architecture: an architecture of the search space.
            encoding: what the routers are fed with, instead of the architecture's own encoding.

        Raises:
            UserError: the architecture is not in the search space, or the encoding has another length than
                the routers were built for.
        """
        genes = dict(zip((gene.name for gene in self.space.genes), self.space.to_genes(architecture)))
        kind = str(self.cfg.arch_encoding)
        if encoding is None:
            encoding = encode(self.space, architecture, kind)
        elif len(encoding) != encoding_dim(self.space, kind):
            raise UserError(
                f"an encoding has {len(encoding)} features, but the routers of this supernet take "
                f"{encoding_dim(self.space, kind)} ({kind} encoding)"
            )
        self.resize(architecture)
        if self.routings:
            vector = torch.as_tensor(encoding, dtype=torch.float32, device=next(self.parameters()).device)
            for routing in self.routings:
                routing.activate(vector, genes)
        self.architecture = architecture

    def extract(self, architecture: Architecture | None = None) -> nn.Module:
        """Returns the dense subnet of an architecture (the active one by default), in eval mode.

        The supernet is left in eval mode with that architecture active.
        """
        self.eval()
        if architecture is not None:
            self.activate(architecture)
        subnet = self.dense_model(self.architecture)
        reference = next(self.parameters())
        subnet.to(device=reference.device, dtype=reference.dtype)
        subnet.load_state_dict(collapse(self))
        return subnet.eval()

    def load_state_dict(self, state_dict, strict=True, model_cfg=None, args=None):
        """Loads weights; those of a supernet without differences of low rank, or without modulation, do as well.

        Raises:
            UserError: they belong to another search space.
        """
        checksum = state_dict.get("search_space_version")
        if checksum is not None and int(checksum) != int(self.search_space_version):
            raise UserError(
                f"the checkpoint was trained on another search space than {self.space.name!r} as it is now: "
                "give the space that it was trained on, or another --save-dir"
            )
        if strict:
            state_dict = with_residuals(state_dict, self.state_dict())
        return super().load_state_dict(state_dict, strict, model_cfg, args)
