"""What `fairseq-mos profile` counts, and of which model."""

from __future__ import annotations

import copy

import torch
from torch import nn

from fairseq_mos.arch import SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.cost import subnets
from fairseq_mos.cost.measured import count_flops, count_parameters
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of_model
from fairseq_mos.version import __version__


def load_model(
    path: str | None, space: str | None, architecture: str | None, data: str | None, vocabulary: int, share: str
) -> tuple[nn.Module, str]:
    """Returns a dense model and what to call it.

    Args:
        path: a supernet, whose subnet is extracted, or a dense checkpoint.
        space: a search space instead; the subnet then has random weights.
        architecture: of the supernet or space; the largest by default.
        data: folder with the dictionaries.
        vocabulary: entries of the dictionary, for a space.
        share: how embeddings are shared, for a space.

    Raises:
        UserError: unusable input.
    """
    from fairseq_mos.models.opening import open_model

    if path is None:
        source = subnets.of_space(SearchSpace.load(space), vocabulary, share)
    else:
        opened = open_model(path, data)
        if not opened.is_supernet:
            if architecture is not None:
                raise UserError(f"{path} is a dense model, which has one architecture: leave --architecture out")
            return opened.model, path
        source = subnets.of_checkpoint(opened)
    chosen = architecture or "largest"
    found = resolve(source.space, chosen)
    return source.build(found), f"{chosen} ({found.digest()}) of {path or f'search space {source.space.name}'}"


def profile(model: nn.Module, source_tokens: int = 30, target_tokens: int = 30) -> dict[str, int]:
    """Returns `params`, `params_no_embed`, `flops` (without the output layer) and `flops_output_layer`.

    Counted from the model itself, whatever it is; for subnets the closed form says the same (tested).
    """
    counted = count_parameters(model)
    # A copy without storage: the counter then computes nothing.
    shadow = copy.deepcopy(model).to("meta").eval()
    whole = count_flops(shadow, source_tokens, target_tokens, output_layer=True)
    inner = count_flops(shadow, source_tokens, target_tokens)
    return {
        "params": counted.total,
        "params_no_embed": counted.no_embed,
        "flops": inner,
        "flops_output_layer": whole - inner,
    }


def signature(model: nn.Module, source_tokens: int = 30, target_tokens: int = 30) -> dict[str, object]:
    """Returns what the values of :func:`profile` depend on besides the architecture."""
    return {
        "source_tokens": source_tokens,
        "target_tokens": target_tokens,
        **family_of_model(model).tables(model),
        "torch": torch.__version__.split("+")[0],
        "fairseq_mos": __version__,
    }
