"""What other implementations of RoBERTa cannot express."""

from __future__ import annotations

from collections.abc import Iterable

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError


def shape_limits(architecture: Architecture) -> list[str]:
    """Returns what of an architecture has no place where all layers have one width, which the heads split."""
    sizes, found = architecture.encoder, []
    if sizes.hidden_dims:
        found.append("bottlenecks around the layers (encoder.hidden_dims)")
    elif architecture.head_dim is not None and sizes.attention_heads * architecture.head_dim != sizes.embed_dim:
        found.append(
            f"{sizes.attention_heads} heads of {architecture.head_dim} in a width of {sizes.embed_dim} (head_dim)"
        )
    return found


def refuse(form: str, what: Iterable[str], model: str) -> None:
    """Refuses an export.

    Args:
        form: the format.
        what: it cannot express; nothing of it: no refusal.
        model: that the format holds.

    Raises:
        UserError: names all of it.
    """
    found = "; ".join(what)
    if found:
        raise UserError(f"--format {form} is {model}, which cannot express {found}: use --format safetensors")
