"""Parameters and FLOPs of an actual model: what a family's costs have to equal."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from fairseq_mos.arch.costs import Parameters
from fairseq_mos.families import family_of_model


class Padding(TorchFunctionMode):
    """Answers "is there padding?": a tensor without storage cannot say, and a program has to hold for any."""

    def __init__(self, answer: bool):
        super().__init__()
        self._answer = answer

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.__bool__:
            return self._answer
        return function(*arguments, **(keywords or {}))


def count_parameters(model: nn.Module) -> Parameters:
    """Counts the parameters of a dense model; tensors that are shared count once.

    Works for extracted subnets and for fairseq's stock models alike.
    """
    embeddings = {id(parameter) for parameter in family_of_model(model).embeddings(model)}
    sizes = {id(parameter): parameter.numel() for parameter in model.parameters()}
    total = sum(sizes.values())
    return Parameters(total=total, no_embed=total - sum(sizes[place] for place in embeddings))


def count_flops(model: nn.Module, source_tokens: int = 30, target_tokens: int = 30, output_layer: bool = False) -> int:
    """Returns 2 x MACs of one pass of one sentence, as torch's own counter sees it.

    The model should be on the `meta` device (:func:`fairseq_mos.cost.subnets.of_space` builds it there): then
    nothing is computed. On the CPU the counter misses fused attention, for whose CPU kernel it knows no
    formula; so attention is decomposed into matrix products here.

    Args:
        model: a dense model, in eval mode.
        source_tokens: length of what the model reads.
        target_tokens: length of what it writes, where it does.
        output_layer: also count the output layer.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), Padding(False), sdpa_kernel(SDPBackend.MATH), counter:
        family_of_model(model).run(model, source_tokens, target_tokens, output_layer)
    return counter.get_total_flops()
