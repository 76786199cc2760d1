"""What a teacher's last layer says besides its predictions: how tokens relate, and the states themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairseq_mos.arch.space import SearchSpace
from fairseq_mos.errors import UserError

_HIDDEN = -1e9
"""Score of a padded token: its probability is 0, and its logarithm is still a number."""


def projections(encoder: nn.Module, states: Sequence[Tensor]) -> list[Tensor]:
    """Returns queries, keys and values of the last layer's self-attention, each (length, batch, width).

    They are computed again from what the layer reads, because attention keeps nothing of them, and fairseq's own never
    calls its projections.

    Args:
        encoder: ours, or fairseq's.
        states: what the embeddings and every layer put out, (length, batch, width).
    """
    layer = getattr(encoder, "active", encoder.layers)[-1]
    x_TBC = states[-2]
    if getattr(layer, "input_bottleneck", None) is not None:
        x_TBC = layer.input_bottleneck(x_TBC)
    if layer.normalize_before:
        x_TBC = layer.self_attn_layer_norm(x_TBC)
    attention = layer.self_attn
    return [project(x_TBC) for project in (attention.q_proj, attention.k_proj, attention.v_proj)]


def relations(vectors: Sequence[Tensor], heads: int, real_BT: Tensor, whose: str) -> Tensor:
    """Returns log-probabilities (kinds, batch, heads, length, length): each token's relation to the others.

    A kind's vectors are split anew into heads and compared with each other, scaled as in attention (MiniLMv2: Wang et
    al. 2021, section 3.1), so that models of any width and number of heads have as many relations.

    Args:
        vectors: of each kind, (length, batch, width).
        heads: relation heads.
        real_BT: (batch, length), True at tokens.
        whose: the vectors are, for the message.

    Raises:
        UserError: the heads do not divide the width.
    """
    found = []
    for x_TBC in vectors:
        check_heads(heads, x_TBC.shape[-1], whose)
        x = x_TBC.float().unflatten(2, (heads, -1)).permute(1, 2, 0, 3)
        scores = torch.matmul(x * x.shape[-1] ** -0.5, x.transpose(-1, -2))
        found.append(F.log_softmax(scores.masked_fill(~real_BT[:, None, None, :], _HIDDEN), dim=-1))
    return torch.stack(found)


def relation_loss(student: Tensor, teacher: Tensor, real_BT: Tensor) -> Tensor:
    """Returns KL(teacher || student) of :func:`relations`, the mean over kinds, heads and tokens."""
    found = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return found.mean(dim=(0, 2))[real_BT].mean()


def hidden_loss(student_TBC: Tensor, teacher_TBC: Tensor, real_BT: Tensor) -> Tensor:
    """Returns the mean squared difference of two states over channels and tokens.

    Raises:
        UserError: they are not as wide.
    """
    check_widths(student_TBC.shape[-1], teacher_TBC.shape[-1])
    real_TB = real_BT.transpose(0, 1)
    return F.mse_loss(student_TBC[real_TB].float(), teacher_TBC[real_TB].float())


def check_heads(heads: int, width: int, whose: str) -> None:
    """Checks that relation heads divide a width.

    Raises:
        UserError: they do not.
    """
    if width % heads:
        raise UserError(f"--relation-heads {heads} do not divide the width of {whose} queries, {width}")


def check_widths(student: int, teacher: int) -> None:
    """Checks that states can be compared.

    Raises:
        UserError: they cannot.
    """
    if student != teacher:
        raise UserError(f"--hidden-weight needs states of one width: the student has {student}, --teacher {teacher}")


def check_space(space: SearchSpace, heads: int | None, width: int | None) -> None:
    """Checks, before an unlucky draw does, that every architecture of a space can learn.

    Args:
        space: of masked language models.
        heads: relation heads; None: no relations.
        width: of the teacher's states; None: no states.

    Raises:
        UserError: one cannot.
    """
    sides = space.encoder
    if heads is not None:
        head_dim = space.head_dim
        streams = sides.hidden_dims or sides.embed_dim
        for choice in streams if head_dim is None else [head_dim * number for number in sides.attention_heads]:
            check_heads(heads, choice, f"the search space {space.name}'s")
    if width is not None:
        for choice in sides.embed_dim:
            check_widths(choice, width)
