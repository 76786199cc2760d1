"""Models in the device and precision in which they are measured."""

from __future__ import annotations

import copy
import warnings

import torch
from fairseq.modules import MultiheadAttention
from torch import nn

PRECISIONS = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16", "bf16")}
"""Device -> what can be measured there; `int8` is dynamic quantisation of linear layers."""

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

# torch announces a successor that lies in another package; a user of ours can do nothing about it.
_ANNOUNCED = (r"torch\.ao\.quantization is deprecated", r"torch\.quantize_per_tensor, torch\.quantize_per_channel")


def prepared(model: nn.Module, device: str, precision: str) -> nn.Module:
    """Returns a copy of the model in eval mode, on the device and in the precision."""
    model = copy.deepcopy(model).eval().to(device)
    return _quantised(model) if precision == "int8" else model.to(_DTYPES.get(precision, torch.float32))


def _quantised(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        for message in _ANNOUNCED:
            warnings.filterwarnings("ignore", message=message)
        model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            # Stock attention outside of incremental decoding hands the weights of its projections to torch's
            # function; quantised ones have none. This is fairseq's switch to its own path, which calls the
            # projections and which decoding takes anyway.
            module.skip_embed_dim_check = True
    return model
