"""Parameters and FLOPs of an actual model: what a family's costs have to equal."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from fairseq_mos.arch.costs import Parameters


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
    """Counts the parameters of a dense encoder-decoder; tensors that are shared count once.

    Works for extracted subnets and for fairseq's stock `transformer` alike. Embeddings are the token tables,
    learned positions and the output layer.
    """
    embeddings = set()
    for side in (model.encoder, model.decoder):
        for name in ("embed_tokens", "embed_positions", "output_projection"):
            part = getattr(side, name, None)
            if isinstance(part, nn.Module):
                embeddings |= {id(parameter) for parameter in part.parameters()}
    sizes = {id(parameter): parameter.numel() for parameter in model.parameters()}
    total = sum(sizes.values())
    return Parameters(total=total, no_embed=total - sum(sizes[place] for place in embeddings))


def count_flops(model: nn.Module, source_tokens: int = 30, target_tokens: int = 30, output_layer: bool = False) -> int:
    """Returns 2 x MACs of one teacher-forced pass of one sentence, as torch's own counter sees it.

    The model should be on the `meta` device (:func:`fairseq_mos.cost.subnets.of_space` builds it there): then
    nothing is computed. On the CPU the counter misses fused attention, for whose CPU kernel it knows no
    formula; so attention is decomposed into matrix products here.

    Args:
        model: a dense encoder-decoder, in eval mode.
        source_tokens: source length.
        target_tokens: target length.
        output_layer: also count the output layer.
    """
    device = next(model.parameters()).device
    source = torch.full((1, source_tokens), 5, device=device)
    target = torch.full((1, target_tokens), 5, device=device)
    lengths = torch.full((1,), source_tokens, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), Padding(False), sdpa_kernel(SDPBackend.MATH), counter:
        memory = model.encoder(source, src_lengths=lengths)
        model.decoder(target, encoder_out=memory, features_only=not output_layer)
    return counter.get_total_flops()
