"""The formats that models are exported in: one row each, which the command, its check and whoever reads go through."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from fairseq_mos.errors import UserError


class Option(NamedTuple):
    """A flag of one format; a model with another value than the default may answer differently."""

    name: str
    default: str
    help: str


@dataclass(frozen=True)
class Exporter:
    """A format.

    Attributes:
        name: what `--format` calls it.
        text: what it is.
        module: where its code is, imported when it is used; `{family}` in it is the family's name, where each family
            has a file of its own. It has `write(bundle, output, check, **options)`, which returns the files that were
            written and calls `check` with them before they are put in their place; where the format has a runtime of
            its own `run(place, inputs)`, which returns what the family's probe compares; where reading takes more than
            weights `read(about, folder, trust)`.
        families: whose models it can hold; empty: any.
        options: its own flags.
        weights: name of the safetensors file in its folders, where those can be opened again. They differ, so that no
            format's folder passes for another's.
    """

    name: str
    text: str
    module: str
    families: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    weights: str | None = None

    def write(
        self, bundle: Any, output: str, check: Callable[[Path], None] | None = None, **options: str
    ) -> list[Path]:
        """Writes a model, a :class:`fairseq_mos.models.bundle.Bundle`; returns the files.

        Raises:
            UserError: what the format cannot hold, or an output that cannot be written.
        """
        if self.families and bundle.data.FAMILY not in self.families:
            raise UserError(f"--format {self.name} is for {', '.join(self.families)}, not for {bundle.data.FAMILY}")
        return self.code(bundle.data.FAMILY).write(bundle, output, check, **options)

    def code(self, family: str) -> ModuleType:
        """Returns the module.

        Args:
            family: name of the model's.
        """
        return importlib.import_module(self.module.format(family=family))


_FAMILY = "fairseq_mos.families.{family}"
_QUANTIZATION = Option("quantization", "float32", "float32, int8, int8_float32, int16, float16 or bfloat16")
_ROWS = (
    Exporter(
        "safetensors",
        "a folder to share: weights, arch.json, dictionaries, subword model, model card",
        "fairseq_mos.export.shared_folder",
        weights="model.safetensors",
    ),
    Exporter("fairseq", "a checkpoint of our subnet, e.g. of a safetensors folder", "fairseq_mos.export.checkpoint"),
    Exporter(
        "stock",
        "a checkpoint of fairseq's own transformer or roberta, which runs without this plugin",
        f"{_FAMILY}.stock",
        ("translation", "masked_lm"),
    ),
    Exporter(
        "torch-export",
        "programs of torch.export, with any batch size and length",
        f"{_FAMILY}.programs",
        ("translation", "masked_lm"),
        weights="weights.safetensors",
    ),
    Exporter(
        "huggingface",
        "a folder for Hugging Face transformers: RobertaForMaskedLM and, where it can be had, the tokenizer",
        f"{_FAMILY}.huggingface",
        ("masked_lm",),
    ),
    Exporter(
        "ctranslate2", "a folder for CTranslate2", f"{_FAMILY}.ct2", ("translation",), options=(_QUANTIZATION,)
    ),
)
EXPORTERS = {row.name: row for row in _ROWS}
"""Name -> format, in the order of the help."""


def register(exporter: Exporter) -> None:
    """Adds a format."""
    EXPORTERS[exporter.name] = exporter
