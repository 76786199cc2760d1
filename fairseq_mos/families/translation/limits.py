"""What other toolkits cannot express, layer by layer."""

from __future__ import annotations

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.schema import memory_states


def require_last_memory(architecture: Architecture, form: str) -> None:
    """Raises for decoder layers that attend to more than the last encoder layer.

    Raises:
        UserError: names the layers.
    """
    layers = [
        f"decoder layer {index} attends the last {memory_states(value)}"
        for index, value in enumerate(architecture.decoder.arbitrary_attention)
        if memory_states(value) > 1
    ]
    if layers:
        raise UserError(
            f"--format {form} knows the last encoder layer's output alone, but {'; '.join(layers)}: choose an "
            "architecture of an _exportable space (arbitrary_attention -1)"
        )
