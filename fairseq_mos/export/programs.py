"""What exports as programs of `torch.export` have in common: their folder, how it is read, how its models behave.

Loading a program runs what its file says. So the weights lie beside the programs once more, as safetensors, from which
the network is built wherever the user does not say that he trusts the folder.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import copy_beside
from fairseq_mos.families.texts import BESIDE
from fairseq_mos.files import replaced_folder
from fairseq_mos.formats import EXPORTERS
from fairseq_mos.models.about import ABOUT, About, write_about
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.weights import library, read_network, write_weights
from fairseq_mos.paths import is_file

WEIGHTS = EXPORTERS["torch-export"].weights


def program(module: nn.Module, arguments: tuple, shapes: tuple) -> ExportedProgram:
    """Returns a module as a program.

    Args:
        module: in eval mode.
        arguments: an example of each.
        shapes: which of their sizes are free.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(module, arguments, dynamic_shapes=shapes, strict=False)


def write_folder(
    bundle: Bundle,
    folder: str | Path,
    export: Callable[[Bundle], Mapping[str, ExportedProgram]],
    check: Callable[[Path], None] | None,
) -> list[Path]:
    """Writes programs, their weights as safetensors, `arch.json`, dictionaries and subword model.

    Args:
        bundle: the subnet.
        folder: to write; replaced if it is such a folder already.
        export: makes the programs, by file name.
        check: called with the new folder before it is put in its place; an error leaves all as it was.

    Returns:
        What was written.

    Raises:
        UserError: not a subnet, a folder that cannot be written to, or safetensors that is missing.
    """
    library()
    folder = Path(folder)
    programs = export(bundle)
    with replaced_folder(folder, (*programs, WEIGHTS, ABOUT, *BESIDE), kept=["README.md"]) as new:
        copy_beside(bundle.data.files(), new)
        for name, made in programs.items():
            buffer = io.BytesIO()
            with contextlib.redirect_stdout(io.StringIO()):
                torch.export.save(made, buffer)
            (new / name).write_bytes(buffer.getbuffer())
        write_weights(bundle.model, new / WEIGHTS)
        write_about(bundle, new, "torch-export")
        if check is not None:
            check(new)
    return [folder / name for name in (*programs, WEIGHTS, ABOUT, *(file.name for file in bundle.data.files()))]


def read_folder(about: About, folder: Path, run: Callable[[About, Path], Bundle] | None) -> Bundle:
    """Reads such a folder.

    Args:
        about: its description.
        folder: the folder.
        run: makes a model of the programs, where the user trusts the folder; else its weights are read, into the
            network that the programs were exported from.

    Raises:
        UserError: a file that is missing or damaged.
    """
    if run is not None:
        return run(about, folder)
    if not is_file(folder / WEIGHTS):
        raise UserError(
            f"{folder} holds programs without {WEIGHTS}, and loading programs can run any code: export it anew, "
            "or say that you trust it (--trust of evaluate, trust=True in Python)"
        )
    return about.bundle(read_network(about, folder / WEIGHTS))


def load_program(file: Path) -> nn.Module:
    """Loads a program; only where the user trusts it, since this can run any code.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # It evaluates expressions and unpickles objects of the file: see `trust` of `open_model`.
            return torch.export.load(file).module()
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing: {file.parent} is incomplete") from error
    except Exception as error:  # of zip, JSON, schema or pickle
        raise UserError(f"{file} cannot be loaded: {' '.join(str(error).split())[:200]}") from error


class Programs:
    """Mixed into models that call programs: they stay in eval mode, in fp32 and on the CPU."""

    def _apply(self, fn, recurse: bool = True):
        """Refuses what `half()`, `cuda()` and `to()` would change: constants of the programs would stay behind."""
        try:
            moved = fn(torch.zeros(1))
        except (AssertionError, RuntimeError):  # no such device here
            moved = None
        if moved is None or moved.dtype != torch.float32 or moved.device.type != "cpu":
            raise UserError("torch.export programs run in fp32 on the CPU: for others export with --format safetensors")
        return super()._apply(fn, recurse)

    def train(self, mode: bool = True):
        """Stays in eval mode, which is what was exported."""
        return self
