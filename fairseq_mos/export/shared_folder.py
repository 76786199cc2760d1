"""A folder to share: safetensors weights, `arch.json`, dictionaries, subword model and a model card.

Nothing in it can run code when it is loaded, unlike a pickled checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fairseq_mos.export.checkpoint import copy_beside
from fairseq_mos.families.texts import BESIDE
from fairseq_mos.files import replaced_folder
from fairseq_mos.formats import EXPORTERS
from fairseq_mos.models.about import ABOUT, write_about
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.weights import library, write_weights

WEIGHTS, CARD = EXPORTERS["safetensors"].weights, "README.md"


def write(bundle: Bundle, folder: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes the folder; a model card that is there already is kept.

    Args:
        bundle: the subnet.
        folder: to write; replaced if it is such a folder already.
        check: called with the new folder before it is put in its place; an error leaves all as it was.

    Returns:
        What was written.

    Raises:
        UserError: not a subnet, a folder that cannot be written to, or safetensors that is missing.
    """
    bundle.subnet("safetensors")
    library()
    folder = Path(folder)
    with replaced_folder(folder, (WEIGHTS, ABOUT, *BESIDE), kept=[CARD]) as new:
        copy_beside(bundle.data.files(), new)
        write_weights(bundle.model, new / WEIGHTS)
        (new / CARD).write_text(bundle.family.card(bundle), "utf-8")
        write_about(bundle, new, "safetensors")
        if check is not None:
            check(new)
    return [folder / name for name in (WEIGHTS, ABOUT, CARD, *(file.name for file in bundle.data.files()))]
