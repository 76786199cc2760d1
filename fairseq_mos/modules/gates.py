"""Hard gates: which gene of an architecture chooses the one expert that a leaf uses.

Nothing is learned and nothing is mixed: between one weight for all architectures and a network for each, they share
weights among the architectures that agree on a gene.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairseq_mos.arch import SearchSpace
from fairseq_mos.arch.reading import listed
from fairseq_mos.arch.space import Gene
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError

SCOPES = {
    "ffn": ("ffn",),
    "attention": ("self_attn", "encoder_attn"),
    "all": ("ffn", "self_attn", "encoder_attn"),
}
"""`--expert-scope` -> the parts of a layer whose weights have experts."""

Gates = Callable[[str, int], Mapping[str, Gene]]
"""Name of a stack and number of a layer -> the gene that chooses the expert, for each part of the layer."""


def _split(space: SearchSpace, split_gene: str | None) -> Gates:
    """One gene for the whole network: few-shot NAS (Zhao et al. 2021), which trains a supernet for each value."""
    genes = {gene.name: gene for gene in space.genes if len(gene.choices) > 1}
    # As text: a checkpoint's may be anything.
    gene = genes.get(str(split_gene))
    if gene is None:
        given = "is missing" if split_gene is None else f"is {show(split_gene)}"
        raise UserError(f"--split-gene {given}, allowed in search space {space.name!r}: {listed(genes)}")
    gates = dict.fromkeys(SCOPES["all"], gene)
    return lambda stack, layer: gates


def _disentangled(space: SearchSpace, split_gene: str | None) -> Gates:
    """A part's own gene, as its schema names it: no two widths of a feed-forward block share a weight."""
    genes = {gene.name: gene for gene in space.genes}
    own = {
        stack.name: {trait.part: f"{stack.name}.{trait.name}" for trait in (*stack.once, *stack.each) if trait.part}
        for stack in space.schema.stacks
    }
    return lambda stack, layer: {
        part: genes.get(name) or genes[f"{name}[{layer}]"] for part, name in own[stack].items()
    }


GATES: dict[str, Callable[[SearchSpace, str | None], Gates]] = {"split": _split, "disentangled": _disentangled}
"""Those of `--routing` that are hard gates -> space and `--split-gene` -> the gates."""


def gates_of(space: SearchSpace, routing: str, split_gene: str | None, scope: str) -> tuple[Gates | None, int]:
    """Returns the gates of a routing (None: it has none) and the most experts that a leaf has with them.

    Raises:
        UserError: no or an unknown gene to split by, one without a split, or nothing to choose by.
    """
    if split_gene is not None and routing != "split":
        raise UserError(f"--split-gene {show(split_gene)} is for --routing split, not {routing}")
    if routing not in GATES:
        return None, 1
    gates = GATES[routing](space, split_gene)
    parts = [gates(stack.name, 0) for stack in space.schema.stacks]
    experts = max((len(genes[part].choices) for genes in parts for part in genes if part in SCOPES[scope]), default=1)
    if experts == 1:
        raise UserError(
            f"--routing {routing} with --expert-scope {scope} has nothing to choose by: search space {space.name!r} "
            "has one choice of each size"
        )
    return gates, experts
