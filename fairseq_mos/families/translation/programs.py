"""A subnet as three programs of `torch.export`, which run without this plugin's network code.

`encode` maps source tokens to the memory, `memory` projects it to every layer's keys and values, and `step`
scores the next token from the newest one and the keys and values so far. Beam search stays outside, so the
programs suit any of them; :mod:`fairseq_mos.families.translation.programs_model` gives them to fairseq's.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from fairseq.modules import SinusoidalPositionalEmbedding
from fairseq.utils import make_positions
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from fairseq_mos.cost.measured import Padding
from fairseq_mos.export.programs import program, read_folder, write_folder
from fairseq_mos.families.translation import programs_model
from fairseq_mos.families.translation.programs_model import ENCODE, MEMORY, STEP
from fairseq_mos.models.about import About
from fairseq_mos.models.bundle import Bundle


class _Positions(nn.Module):
    """A stack's sinusoids as a table that a program can hold: of the tokens, or of the position that it was told."""

    def __init__(self, stack: nn.Module):
        super().__init__()
        self.padding_idx = stack.padding_idx
        self.told: list[Tensor] = []
        rows = self.padding_idx + 1 + stack.max_positions()
        table = SinusoidalPositionalEmbedding.get_embedding(rows, stack.embed_dim, self.padding_idx)
        self.register_buffer("table", table)

    def forward(self, tokens: Tensor, width: int, like: Tensor, newest_only: bool = False) -> Tensor:
        positions = self.told.pop().unsqueeze(0) if newest_only else make_positions(tokens, self.padding_idx)
        return F.embedding(positions, self.table)


class _Program(nn.Module):
    """A stack of the network itself, which it changes: its positions become a table."""

    def __init__(self, stack: nn.Module):
        super().__init__()
        # By this name alone readers of every version find the number of entries.
        self.embed = nn.Module()
        self.embed.tokens = stack.embed_tokens
        del stack.embed_tokens
        object.__setattr__(stack, "embed_tokens", self.embed.tokens)
        self.stack = stack
        if stack.embed_positions is not None:
            stack.embed_positions = _Positions(stack)


class Encode(_Program):
    """Source tokens (batch, source) -> memory (source, batch, channels), padding (batch, source)."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        # A program has to be ready for padding, whether or not there is any.
        with Padding(True):
            out = self.stack(tokens)
        return out["encoder_out"][0], out["encoder_padding_mask"][0]


class Memory(nn.Module):
    """Memory (source, batch, channels) -> for each layer keys and values (batch, heads, source * states, width)."""

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.layers = decoder.layers

    def forward(self, memory: Tensor) -> list[Tensor]:
        pairs = (layer.encoder_attn.keys_and_values(layer.along_time(memory)) for layer in self.layers)
        return list(itertools.chain.from_iterable(pairs))


class Step(_Program):
    """The newest token of each hypothesis -> scores of the next one.

    Its inputs are tokens (batch, 1), their position (1), the source's padding (batch, source), the memory's keys
    and values, and those of the tokens so far, (batch, heads, past, width) for each layer; it returns scores
    (batch, vocabulary), and keys and values that include the newest token.
    """

    def forward(self, tokens: Tensor, position: Tensor, padding: Tensor, memory: list[Tensor], past: list[Tensor]):
        decoder, state = self.stack, {}
        for index, layer in enumerate(decoder.layers):
            layer.self_attn.cache(state, *past[2 * index : 2 * index + 2])
            layer.encoder_attn.cache(state, *memory[2 * index : 2 * index + 2])
        if decoder.embed_positions is not None:
            decoder.embed_positions.told.append(position)
        # Of the memory only its keys and values are read, and they are in the cache; what stands for it says the batch.
        encoder_out = {"encoder_out": [padding.t()], "encoder_padding_mask": [padding]}
        # No layer has this number: no attention weights are computed.
        features, _ = decoder.extract_features(tokens, encoder_out, state, alignment_layer=-1)
        present = itertools.chain.from_iterable(layer.self_attn.cached(state) for layer in decoder.layers)
        return decoder.output_layer(features).squeeze(1), list(present)


def export(bundle: Bundle) -> dict[str, torch.export.ExportedProgram]:
    """Returns the programs by file name; batch size and lengths are free.

    Raises:
        UserError: not a `mos_subnet`.
    """
    architecture = bundle.subnet("torch-export")
    # What becomes a program is changed.
    model = copy.deepcopy(bundle.model)
    batch, source, past = Dim("batch", min=1, max=2**16), Dim("source", min=1, max=2**12), Dim("past", min=0, max=2**12)
    tokens = torch.full((3, 5), model.encoder.dictionary.eos())
    encode, memory, step = Encode(model.encoder), Memory(model.decoder), Step(model.decoder)
    with torch.no_grad():
        states, padding = encode(tokens)
        projected = memory(states)
    heads = architecture.decoder.self_attention_heads
    before = [torch.zeros(3, h, 4, architecture.decoder.qkv_dim // h) for h in heads for _ in range(2)]
    lengths = [{0: batch, 2: layer.memory_states * source} for layer in model.decoder.layers for _ in range(2)]
    arguments = (tokens[:, :1], torch.tensor([5]), padding, projected, before)
    shapes = ({0: batch}, {}, {0: batch, 1: source}, lengths, [{0: batch, 2: past}] * len(before))
    return {
        ENCODE: program(encode, (tokens,), ({0: batch, 1: source},)),
        MEMORY: program(memory, (states,), ({0: source, 1: batch},)),
        STEP: program(step, arguments, shapes),
    }


def write(bundle: Bundle, folder: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes the programs, see :func:`fairseq_mos.export.programs.write_folder`."""
    return write_folder(bundle, folder, export, check)


def read(about: About, folder: Path, trust: bool) -> Bundle:
    """Reads the folder; without trust its weights, in the network that the programs were exported from.

    Raises:
        UserError: a file that is missing or damaged.
    """
    return read_folder(about, folder, programs_model.read if trust else None)
