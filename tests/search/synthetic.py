"""Searches without a model: a small space, a deterministic loss, and every architecture listed."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.families.translation.family import FAMILY
from fairseq_mos.search.costs import CostModel
from fairseq_mos.search.driver import Result, run_search
from fairseq_mos.search.plan import Plan
from tests.arch.samples import mini

COSTS = CostModel(partial(FAMILY.counts, sizing=FAMILY.sizing(source_vocabulary=50, target_vocabulary=50)))


def loss_of(arch: Architecture) -> float:
    """Grows with each gene's distance from an architecture in the middle of the space."""
    encoder, decoder = arch.encoder, arch.decoder
    loss = 3.0 + 0.3 * (encoder.embed_dim != 8) + 0.4 * (decoder.embed_dim != 16)
    loss += 0.5 * (encoder.layers != 2) + 0.7 * (decoder.layers != 1)
    loss += sum(0.11 * (ffn == 16) for ffn in encoder.ffn_dims) + 0.13 * (decoder.ffn_dims[0] == 32)
    loss += 0.05 * (encoder.self_attention_heads[0] == 4)
    return loss + 0.03 * (decoder.self_attention_heads[0] == 2)


class Counter:
    """An evaluator that counts its calls and can be made to fail at one of them."""

    def __init__(self, fail_at: int | None = None):
        self.calls: list[Architecture] = []
        self.fail_at = fail_at

    def __call__(self, arch: Architecture) -> dict[str, float]:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(arch)
        return {"loss": loss_of(arch), "nll_loss": loss_of(arch) / 3}


def everything(space: SearchSpace) -> list[Architecture]:
    """Lists every distinct architecture."""
    genes = product(*(gene.choices for gene in space.genes))
    return list(dict.fromkeys(space.from_genes(values) for values in genes))


def search(folder: Path, evaluate=None, space: SearchSpace | None = None, costs=COSTS, **options) -> Result:
    """Runs a search on the mini space (1,600 architectures)."""
    known = {"space": space or mini(), "costs": costs, "evaluate": evaluate or Counter()}
    return run_search(Plan(**known, measured={"supernet": "synthetic"}, **options), folder)
