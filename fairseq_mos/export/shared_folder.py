"""A folder to share: safetensors weights, `arch.json`, dictionaries, subword model and a model card.

Nothing in it can run code when it is loaded, unlike a pickled checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fairseq_mos.errors import UserError
from fairseq_mos.export.about import ABOUT, About, write_about
from fairseq_mos.export.bundle import Bundle
from fairseq_mos.export.card import model_card
from fairseq_mos.export.checkpoint import BESIDE, copy_beside
from fairseq_mos.export.limits import require_subnet
from fairseq_mos.files import replaced_folder
from fairseq_mos.models.loading import load_dictionary
from fairseq_mos.models.mos_subnet import MosSubnet

WEIGHTS, CARD = "model.safetensors", "README.md"


def write(bundle: Bundle, folder: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes the folder; a model card that is there already is kept.

    Args:
        bundle: the subnet.
        folder: to write; replaced if it is such a folder already.
        check: called with the new folder before it is put in its place; an error leaves all as it was.

    Returns:
        What was written.

    Raises:
        UserError: not a `mos_subnet`, a folder that cannot be written to, or safetensors that is missing.
    """
    require_subnet(bundle, "safetensors")
    save = _safetensors().save
    folder = Path(folder)
    tensors = {name: tensor.contiguous() for name, tensor in bundle.model.state_dict().items()}
    with replaced_folder(folder, (WEIGHTS, ABOUT, *BESIDE), kept=[CARD]) as new:
        copy_beside(bundle.files(), new)
        (new / WEIGHTS).write_bytes(save(_without_aliases(tensors), metadata={"format": "pt"}))
        (new / CARD).write_text(model_card(bundle), "utf-8")
        write_about(bundle, new, "safetensors")
        if check is not None:
            check(new)
    return [folder / name for name in (WEIGHTS, ABOUT, CARD, *(file.name for file in bundle.files()))]


def read(about: About, folder: Path) -> Bundle:
    """Reads such a folder, given its description.

    Raises:
        UserError: a file that is missing or damaged, or files that do not fit each other.
    """
    file = folder / WEIGHTS
    library = _safetensors()
    try:
        tensors = library.load(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except Exception as error:  # safetensors' own type of error derives from Exception alone
        raise UserError(f"{file} is damaged: {str(error)[:200]}") from error
    # Embeddings that the stacks share are stored once.
    tables = [f"{side}.embed_tokens.weight" for side in ("encoder", "decoder")]
    dictionaries = [
        load_dictionary(dictionary, tensors if name in tensors else None, name)
        for dictionary, name in zip(about.dictionaries, [tables[0], tables[1] if tables[1] in tensors else tables[0]])
    ]
    model = MosSubnet.from_dictionaries(about.model_config, *dictionaries, about.architecture)
    _restore_aliases(tensors, model.state_dict())
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit {folder / ABOUT}: {' '.join(str(error).split())[:200]}") from error
    return about.bundle(model)


def _safetensors():
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError('this needs safetensors: pip install "fairseq-mos[export]"') from error
    return safetensors.torch


def _place(tensor: torch.Tensor) -> tuple:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _without_aliases(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leaves out further names of the same storage, such as a shared embedding: safetensors refuses them."""
    kept, seen = {}, set()
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or _place(tensor) not in seen:
            seen.add(_place(tensor))
            kept[name] = tensor
    return kept


def _restore_aliases(tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Adds the names that :func:`_without_aliases` left out, in place."""
    owners = {_place(tensor): name for name, tensor in wanted.items() if name in tensors}
    for name, tensor in wanted.items():
        if name not in tensors and _place(tensor) in owners:
            tensors[name] = tensors[owners[_place(tensor)]]
