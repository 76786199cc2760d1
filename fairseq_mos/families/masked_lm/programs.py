"""A subnet as a program of `torch.export`, which runs without this plugin's network code.

`scores.pt2` maps tokens (batch, length) to scores (batch, length, vocabulary) and features (batch, length, embed);
batch size and length are free.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder, FairseqEncoderModel
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fairseq_mos.cost.measured import Padding
from fairseq_mos.errors import UserError
from fairseq_mos.export.programs import Programs, load_program, program, read_folder, write_folder
from fairseq_mos.families.masked_lm.texts import load_dictionary
from fairseq_mos.models.about import About
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.masked_lm import POSITIONS
from fairseq_mos.models.mos_roberta_subnet import MosRobertaSubnet

SCORES = "scores.pt2"
"""The program's file."""


class Score(nn.Module):
    """Tokens (batch, length) -> scores (batch, length, vocabulary), features (batch, length, embed)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.encoder = model.encoder

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        # A program has to be ready for padding, whether or not there is any.
        with Padding(True):
            features, _ = self.encoder.extract_features(tokens)
        return self.encoder.output_layer(features), features


def export(bundle: Bundle) -> dict[str, ExportedProgram]:
    """Returns the program by its file name.

    Raises:
        UserError: not a subnet.
    """
    bundle.subnet("torch-export")
    # Export leaves its traces in what it traces.
    model = copy.deepcopy(bundle.model)
    tokens = torch.full((3, min(5, model.max_positions())), model.dictionary.eos())
    sizes = {0: Dim("batch", min=1, max=2**16), 1: Dim("length", min=1, max=model.max_positions())}
    return {SCORES: program(Score(model), (tokens,), (sizes,))}


def write(bundle: Bundle, folder: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes the program, see :func:`fairseq_mos.export.programs.write_folder`."""
    return write_folder(bundle, folder, export, check)


def read(about: About, folder: Path, trust: bool) -> Bundle:
    """Reads the folder; without trust its weights, in the network that the program was exported from.

    Raises:
        UserError: a file that is missing or damaged.
    """
    return read_folder(about, folder, _run if trust else None)


def _run(about: About, folder: Path) -> Bundle:
    return about.bundle(ProgramsModel(about, load_program(folder / SCORES)))


class ProgramsModel(Programs, FairseqEncoderModel):
    """A model that calls the program; on the CPU, in fp32."""

    family = "masked_lm"

    def __init__(self, about: About, scores: nn.Module):
        state = scores.state_dict()
        dictionary = load_dictionary(about.data.dictionaries[0], state)
        positions = len(state[POSITIONS]) - dictionary.pad() - 1
        super().__init__(_Encoder(dictionary, scores, positions))
        self.architecture, self._options = about.architecture, about.model_config

    def forward(self, src_tokens: Tensor, **options) -> tuple[Tensor, dict]:
        """Scores src_tokens (batch, length); see :meth:`fairseq_mos.models.masked_lm.MaskedLMEncoder.forward`."""
        return self.encoder(src_tokens, **options)

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary."""
        return self.encoder.dictionary

    def network(self) -> MosRobertaSubnet:
        """Returns the network that was exported, without storage: programs hold no layers that could be counted."""
        options = self._options
        with torch.device("meta"):
            return MosRobertaSubnet.from_dictionary(
                options, self.dictionary, self.architecture, options.bottlenecks == "merged"
            ).eval()


class _Encoder(FairseqEncoder):
    def __init__(self, dictionary: Dictionary, scores: nn.Module, positions: int):
        super().__init__(dictionary)
        self._scores, self._positions = scores, positions

    def forward(self, src_tokens: Tensor, features_only: bool = False, return_all_hiddens: bool = False, **others):
        """As :meth:`fairseq_mos.models.masked_lm.MaskedLMEncoder.forward`.

        Raises:
            UserError: what lies between the layers is asked for.
        """
        if return_all_hiddens:
            raise UserError(
                "return_all_hiddens needs every layer's output, which torch.export programs do not give: load the "
                "folder without trust, which runs the network itself"
            )
        scores, features = self._scores(src_tokens)
        return (features if features_only else scores), {"inner_states": None}

    def max_positions(self) -> int:
        """Longest input that is accepted, in tokens."""
        return self._positions
