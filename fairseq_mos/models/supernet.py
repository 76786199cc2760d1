"""What supernets of all families have in common."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.arch.encoding import encode, encoding_dim
from fairseq_mos.errors import UserError
from fairseq_mos.modules.block import collapse
from fairseq_mos.modules.gates import gates_of
from fairseq_mos.modules.leaves import ElasticLeaves, LeafOptions
from fairseq_mos.modules.routing import Routing


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
        gates,
        options or LeafOptions(),
    )


class Supernet:
    """Mixed into models with elastic leaves: one architecture is active at a time, the largest after building.

    A family's model comes after it among the base classes, and has a configuration `cfg`,
    `resize(architecture)`, which hands its stacks their sizes, and `dense_model(architecture)`, the same model with
    dense leaves.

    Attributes:
        space: the search space.
        architecture: the active one.
    """

    def begin(self, space: SearchSpace) -> None:
        """Makes the largest architecture the active one, at the end of construction."""
        self.space = space
        # Resuming with an edited search space would slice the weights wrongly and silently.
        # fairseq's EMA averages all tensors but those with "version" in their name, and fails on integers.
        self.register_buffer("search_space_version", torch.tensor(int(space.digest()[:8], 16)))
        self.architecture: Architecture | None = None
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
        if architecture != self.architecture:
            self.space.validate(architecture)
        kind = str(self.cfg.arch_encoding)
        if encoding is None:
            encoding = encode(self.space, architecture, kind)
        elif len(encoding) != encoding_dim(self.space, kind):
            raise UserError(
                f"an encoding has {len(encoding)} features, but the routers of this supernet take "
                f"{encoding_dim(self.space, kind)} ({kind} encoding)"
            )
        device = next(self.parameters()).device
        vector = torch.as_tensor(encoding, dtype=torch.float32, device=device)
        genes = dict(zip((gene.name for gene in self.space.genes), self.space.to_genes(architecture)))
        self.resize(architecture)
        for part in self.modules():
            if isinstance(part, Routing):
                part.activate(vector, genes)
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
        """Loads weights.

        Raises:
            UserError: they belong to another search space.
        """
        checksum = state_dict.get("search_space_version")
        if checksum is not None and int(checksum) != int(self.search_space_version):
            raise UserError(
                f"the checkpoint was trained on another search space than {self.space.name!r} as it is now: "
                "give the space that it was trained on, or another --save-dir"
            )
        return super().load_state_dict(state_dict, strict, model_cfg, args)
