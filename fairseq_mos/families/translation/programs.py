"""A subnet as three programs of `torch.export`, which run without this plugin's network code.

`encode` maps source tokens to the memory, `memory` projects it to every layer's keys and values, and `step`
scores the next token from the newest one and the keys and values so far. Beam search stays outside, so the
programs suit any of them; :mod:`fairseq_mos.families.translation.programs_model` gives them to fairseq's.

Loading a program runs what its file says. So the weights lie beside the programs once more, as safetensors, from which
the network is built wherever the user does not say that he trusts the folder.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from fairseq.modules import SinusoidalPositionalEmbedding
from fairseq.utils import make_positions
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import copy_beside
from fairseq_mos.families.translation.limits import require_subnet
from fairseq_mos.families.translation.texts import BESIDE
from fairseq_mos.files import replaced_folder
from fairseq_mos.models.about import ABOUT, About, write_about
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.formats import EXPORTERS
from fairseq_mos.models.weights import library, read_network, write_weights
from fairseq_mos.paths import is_file

ENCODE, MEMORY, STEP = "encode.pt2", "memory.pt2", "step.pt2"
WEIGHTS = EXPORTERS["torch-export"].weights


class _Embed(nn.Module):
    """Tokens at given positions -> vectors, as the stack's own embedding does."""

    def __init__(self, stack: nn.Module, max_positions: int):
        super().__init__()
        self.tokens, self.norm, self.width = stack.embed_tokens, stack.layernorm_embedding, stack.embed_dim
        table = None
        if stack.embed_positions is not None:
            rows = stack.padding_idx + 1 + max_positions
            table = SinusoidalPositionalEmbedding.get_embedding(rows, self.width, stack.padding_idx)
        self.register_buffer("positions", table)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = math.sqrt(self.width) * self.tokens(tokens)[..., : self.width]
        if self.positions is not None:
            x = x + F.embedding(positions, self.positions)
        return x if self.norm is None else self.norm(x)


class Encode(nn.Module):
    """Source tokens (batch, source) -> memory (source, batch, channels), padding (batch, source)."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.embed = _Embed(encoder, encoder.max_source_positions)
        self.layers, self.norm = encoder.layers, encoder.layer_norm
        self.padding_idx, self.states = encoder.padding_idx, encoder.memory_states

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        padding = tokens.eq(self.padding_idx)
        x = self.embed(tokens, make_positions(tokens, self.padding_idx))
        x = x.masked_fill(padding.unsqueeze(-1), 0).transpose(0, 1)
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], ~padding[:, None, None, :]))
        memory = states[: -self.states - 1 : -1]
        if self.norm is not None:
            memory = [self.norm(state) for state in memory]
        return torch.cat(memory, dim=-1), padding


class Memory(nn.Module):
    """Memory (source, batch, channels) -> for each layer keys and values (batch, heads, source * states, width)."""

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.layers = decoder.layers

    def forward(self, memory: Tensor) -> list[Tensor]:
        found = []
        for layer in self.layers:
            states, attention = layer._along_time(memory), layer.encoder_attn
            found += [attention._heads(attention.k_proj(states)), attention._heads(attention.v_proj(states))]
        return found


class Step(nn.Module):
    """The newest token of each hypothesis -> scores of the next one.

    Its inputs are tokens (batch, 1), their position (1), the source's padding (batch, source), the memory's keys
    and values, and those of the tokens so far, (batch, heads, past, width) for each layer; it returns scores
    (batch, vocabulary), and keys and values that include the newest token.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.embed = _Embed(decoder, decoder.max_target_positions)
        self.layers, self.norm = decoder.layers, decoder.layer_norm
        self.output, self.width = decoder.output_projection, decoder.embed_dim

    def forward(self, tokens: Tensor, position: Tensor, padding: Tensor, memory: list[Tensor], past: list[Tensor]):
        x = self.embed(tokens, position.unsqueeze(0)).transpose(0, 1)
        mask, present = ~padding[:, None, None, :], []
        for index, layer in enumerate(self.layers):
            own, cross = layer.self_attn, layer.encoder_attn
            residual, x = x, layer.before(layer.self_attn_layer_norm, x)
            keys = torch.cat([past[2 * index], own._heads(own.k_proj(x))], dim=2)
            values = torch.cat([past[2 * index + 1], own._heads(own.v_proj(x))], dim=2)
            present += [keys, values]
            x = layer.after(layer.self_attn_layer_norm, _attend(own, x, keys, values), residual)
            residual, x = x, layer.before(layer.encoder_attn_layer_norm, x)
            keys, values = memory[2 * index], memory[2 * index + 1]
            x = _attend(cross, x, keys, values, mask.repeat(1, 1, 1, layer.memory_states))
            x = layer.after(layer.encoder_attn_layer_norm, x, residual)
            residual, x = x, layer.feed_forward(layer.before(layer.final_layer_norm, x))
            x = layer.after(layer.final_layer_norm, x, residual)
        if self.norm is not None:
            x = self.norm(x)
        x = x.squeeze(0)
        if self.output is not None:
            return self.output(x), present
        return F.linear(x, self.embed.tokens.weight[:, : self.width]), present


def _attend(attention: nn.Module, x_TBC: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    out = F.scaled_dot_product_attention(attention._heads(attention.q_proj(x_TBC)), keys, values, mask)
    return attention.out_proj(out.permute(2, 0, 1, 3).flatten(2))


def export(bundle: Bundle) -> dict[str, torch.export.ExportedProgram]:
    """Returns the programs by file name; batch size and lengths are free.

    Raises:
        UserError: not a `mos_subnet`.
    """
    architecture = require_subnet(bundle, "torch-export")
    model = bundle.model
    batch, source, past = Dim("batch", min=1, max=2**16), Dim("source", min=1, max=2**12), Dim("past", min=0, max=2**12)
    tokens = torch.full((3, 5), model.encoder.dictionary.eos())
    encode, memory, step = Encode(model.encoder), Memory(model.decoder), Step(model.decoder)
    with torch.no_grad():
        states, padding = encode(tokens)
        projected = memory(states)
    heads = architecture.decoder.self_attention_heads
    before = [torch.zeros(3, h, 4, architecture.decoder_qkv_dim() // h) for h in heads for _ in range(2)]
    lengths = [{0: batch, 2: layer.memory_states * source} for layer in model.decoder.layers for _ in range(2)]
    arguments = (tokens[:, :1], torch.tensor([5]), padding, projected, before)
    shapes = ({0: batch}, {}, {0: batch, 1: source}, lengths, [{0: batch, 2: past}] * len(before))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return {
            ENCODE: torch.export.export(encode, (tokens,), dynamic_shapes=({0: batch, 1: source},), strict=False),
            MEMORY: torch.export.export(memory, (states,), dynamic_shapes=({0: source, 1: batch},), strict=False),
            STEP: torch.export.export(step, arguments, dynamic_shapes=shapes, strict=False),
        }


def write(bundle: Bundle, folder: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes the programs, their weights as safetensors, `arch.json`, dictionaries and subword model.

    Args:
        bundle: the subnet.
        folder: to write; replaced if it is such a folder already.
        check: called with the new folder before it is put in its place; an error leaves all as it was.

    Raises:
        UserError: not a `mos_subnet`, a folder that cannot be written to, or safetensors that is missing.
    """
    library()
    folder = Path(folder)
    programs = export(bundle)
    with replaced_folder(folder, (*programs, WEIGHTS, ABOUT, *BESIDE), kept=["README.md"]) as new:
        copy_beside(bundle.data.files(), new)
        for name, program in programs.items():
            buffer = io.BytesIO()
            with contextlib.redirect_stdout(io.StringIO()):
                torch.export.save(program, buffer)
            (new / name).write_bytes(buffer.getbuffer())
        write_weights(bundle.model, new / WEIGHTS)
        write_about(bundle, new, "torch-export")
        if check is not None:
            check(new)
    return [folder / name for name in (*programs, WEIGHTS, ABOUT, *(file.name for file in bundle.data.files()))]


def read(about: About, folder: Path, trust: bool) -> Bundle:
    """Reads the folder; without trust its weights, in the network that the programs were exported from.

    Raises:
        UserError: a file that is missing or damaged.
    """
    if trust:
        # Costs seconds; nothing else needs it.
        from fairseq_mos.families.translation import programs_model

        return programs_model.read(about, folder)
    if not is_file(folder / WEIGHTS):
        raise UserError(
            f"{folder} holds programs without {WEIGHTS}, and loading programs can run any code: export it anew, "
            "or say that you trust it (--trust of evaluate, trust=True in Python)"
        )
    return about.bundle(read_network(about, folder / WEIGHTS))
