"""Experts that differ by matrices of low rank: one weight for all architectures, and small differences.

A weight (out, in) with m whole experts is stored m times. Here it is stored once, and each expert adds a product of a
tall and a wide matrix of rank r, m * r * (out + in) numbers in all: LoRA's parametrisation (Hu et al. 2021, arXiv
2106.09685), mixed by the architecture as in TAS-LoRA (arXiv 2605.07256). It ends in one dense weight, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.modules import in_place, init
from fairseq_mos.modules.elastic import ElasticLinear
from fairseq_mos.modules.experts import scale_and_shift


class LowRankLinear(ElasticLinear):
    """A linear layer whose weight is `W + sum_j mix[j] U_j V_j`, of which a prefix is active.

    U is zero and V random at first (LoRA), so that the layer begins as one without differences. The bias is shared.

    Args:
        in_features: super input width.
        out_features: super output width.
        bias: whether there is a bias.
        num_experts: m, how many differences; at least 2.
        rank: r, of each.
        draw: fills W in place.

    Shapes: weight (out, in); bias (out); up (out, m * r), all U_j side by side; down (m * r, in), all V_j.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        num_experts: int = 2,
        rank: int = 8,
        draw: init.Draw = init.xavier_uniform_,
    ):
        super().__init__(in_features, out_features, bias, draw=draw)
        self.num_experts = num_experts
        self.rank = rank
        self.up = nn.Parameter(torch.zeros(out_features, num_experts * rank))
        self.down = nn.Parameter(init.projection_(torch.empty(num_experts * rank, in_features)))

    @property
    def experts(self) -> Tensor:
        # By these, since all U_j are alike at first.
        return self.down.view(self.num_experts, self.rank, -1)

    def _compute(self, mix=None, modulation=None) -> tuple[Tensor, Tensor | None]:
        rows, columns = self.size
        scale, shift = scale_and_shift(modulation)
        up = self.up[:rows] * mix.to(self.up.dtype).repeat_interleave(self.rank)
        # Under autocast in half precision, where adding to the shared weight would round small differences away.
        with torch.autocast(self.weight.device.type, enabled=False):
            weight = torch.addmm(self.weight[:rows, :columns], up, self.down[:, :columns])
        if scale is not None:
            weight = weight * scale.unsqueeze(-1)
        return weight, self._bias(self.bias, None, shift)

    def _in_place(self, x: Tensor, mix=None, modulation=None) -> Tensor:
        # The differences' products are small, and so no weight is made of them.
        rows, columns = self.size
        scale, shift = scale_and_shift(modulation)
        inner = F.linear(x, self.down[:, :columns]) * mix.to(self.up.dtype).repeat_interleave(self.rank)
        y = in_place.linear(x, self.weight, None, self.size) + F.linear(inner, self.up[:rows])
        if scale is not None:
            y = y * scale
        bias = self._bias(self.bias, None, shift)
        return y if bias is None else y + bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"
