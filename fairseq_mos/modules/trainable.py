"""What training changes of a network."""

from __future__ import annotations

from torch import nn


def freeze(model: nn.Module, trainable: str) -> None:
    """Leaves what `--trainable` names to training.

    `norms-biases`: few numbers suffice where weights were learnt for many subnets.
    """
    if trainable == "all":
        return
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.requires_grad_(isinstance(module, nn.LayerNorm) or name == "bias")
