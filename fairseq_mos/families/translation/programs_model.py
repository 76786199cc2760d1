"""The programs of :mod:`fairseq_mos.families.translation.programs` as a model that fairseq can generate with."""

from __future__ import annotations

from pathlib import Path

import torch
from fairseq.models import FairseqEncoder, FairseqEncoderDecoderModel, FairseqIncrementalDecoder
from torch import Tensor

from fairseq_mos.errors import UserError
from fairseq_mos.export.programs import Programs, load_program
from fairseq_mos.families.translation.texts import load_dictionary
from fairseq_mos.models.about import About
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.mos_subnet import MosSubnet

ENCODE, MEMORY, STEP = "encode.pt2", "memory.pt2", "step.pt2"
"""The programs' files."""


def read(about: About, folder: Path) -> Bundle:
    """Reads a folder of programs, given its description; only where the user trusts it, since this can run any code.

    Raises:
        UserError: a file that is missing or damaged.
    """
    return about.bundle(ProgramsModel(about, *(load_program(folder / name) for name in (ENCODE, MEMORY, STEP))))


class ProgramsModel(Programs, FairseqEncoderDecoderModel):
    """Encoder and decoder that call the programs; on the CPU, in fp32."""

    def __init__(self, about: About, encode, memory, step):
        source, target = (
            load_dictionary(file, program.state_dict(), "embed.tokens.weight")
            for file, program in zip(about.data.dictionaries, (encode, step))
        )
        options = about.model_config
        super().__init__(
            _Encoder(source, encode, options.max_source_positions),
            _Decoder(target, memory, step, about.architecture, options.max_target_positions),
        )
        self.architecture, self._options = about.architecture, options

    def network(self) -> MosSubnet:
        """Returns the network that was exported, without storage: programs hold no layers that could be counted."""
        with torch.device("meta"):
            dictionaries = self.encoder.dictionary, self.decoder.dictionary
            return MosSubnet.from_dictionaries(self._options, *dictionaries, self.architecture).eval()

    @property
    def full_context_alignment(self):
        """Asked by whatever wants to align words.

        Raises:
            UserError: always.
        """
        raise UserError(
            "print_alignment needs attention, which torch.export programs do not give: load the folder without trust, "
            "which runs the network itself"
        )


class _Encoder(FairseqEncoder):
    def __init__(self, dictionary, encode, max_positions: int):
        super().__init__(dictionary)
        self._encode, self._max_positions = encode, max_positions

    def forward(self, src_tokens: Tensor, src_lengths: Tensor | None = None, **others) -> dict[str, list[Tensor]]:
        memory, padding = self._encode(src_tokens)
        return {"encoder_out": [memory], "encoder_padding_mask": [padding]}

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor):
        return {
            "encoder_out": [encoder_out["encoder_out"][0].index_select(1, new_order)],
            "encoder_padding_mask": [encoder_out["encoder_padding_mask"][0].index_select(0, new_order)],
        }

    def max_positions(self) -> int:
        return self._max_positions


class _Decoder(FairseqIncrementalDecoder):
    def __init__(self, dictionary, memory, step, architecture, max_positions: int):
        super().__init__(dictionary)
        self._memory, self._step, self._max_positions = memory, step, max_positions
        self._padding_idx = dictionary.pad()
        width = architecture.decoder.qkv_dim
        self._heads = [(heads, width // heads) for heads in architecture.decoder.self_attention_heads for _ in range(2)]

    def forward(self, prev_output_tokens: Tensor, encoder_out=None, incremental_state=None, **others):
        if incremental_state is not None:
            return self._next(prev_output_tokens, encoder_out, incremental_state).unsqueeze(1), {"attn": [None]}
        state: dict = {}
        lengths = range(1, prev_output_tokens.shape[1] + 1)
        scores = [self._next(prev_output_tokens[:, :length], encoder_out, state) for length in lengths]
        return torch.stack(scores, dim=1), {"attn": [None]}

    def _next(self, tokens: Tensor, encoder_out, state: dict) -> Tensor:
        cache = state.get("programs")
        if cache is None:
            batch = tokens.shape[0]
            cache = {
                "memory": self._memory(encoder_out["encoder_out"][0]),
                "past": [torch.zeros(batch, heads, 0, width) for heads, width in self._heads],
            }
        position = torch.tensor([self._padding_idx + tokens.shape[1]])
        padding = encoder_out["encoder_padding_mask"][0]
        scores, present = self._step(tokens[:, -1:], position, padding, cache["memory"], cache["past"])
        state["programs"] = {"memory": cache["memory"], "past": present}
        return scores

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor):
        cache = incremental_state.get("programs")
        if cache is not None:
            incremental_state["programs"] = {
                name: [value.index_select(0, new_order) for value in values] for name, values in cache.items()
            }
        return incremental_state

    def max_positions(self) -> int:
        return self._max_positions
