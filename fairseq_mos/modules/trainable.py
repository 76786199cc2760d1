"""What training changes of a network."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fairseq_mos.errors import UserError
from fairseq_mos.modules.residuals import is_residual


def _is_norm_or_bias(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.LayerNorm) or name.rpartition(".")[2] == "bias"


def _is_routing(module: nn.Module, name: str) -> bool:
    return is_residual(name)


Part = Callable[[nn.Module, str], bool]
"""Module and its parameter's name in the network -> whether training changes it."""

SUBNET_PARTS: dict[str, Part | None] = {"all": None, "norms-biases": _is_norm_or_bias}
"""`--trainable` of subnets: few numbers suffice where weights were learnt for many subnets."""

SUPERNET_PARTS: dict[str, Part | None] = {"all": None, "routing": _is_routing}
"""`--trainable` of supernets: what all architectures share may stay as it was learnt without the rest."""


def freeze(model: nn.Module, part: Part | None) -> None:
    """Leaves a part of a network to training; None: all of it.

    Raises:
        UserError: the network has nothing of the kind.
    """
    if part is None:
        return
    for where, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix=where, recurse=False):
            parameter.requires_grad_(part(module, name))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            "--trainable routing leaves nothing to train: it needs --routing low-rank or another with routers, or "
            "--modulation"
        )
