"""The shape of translation models: HAT's encoder and decoder (HAT, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

from fairseq_mos.arch.schema import Constant, Derived, Rule, Schema, Stack, Trait

MEMORY_STATES: Mapping[int, int] = {-1: 1, 1: 2, 2: 3}
"""Arbitrary-attention value -> how many of the encoder's last layers a decoder layer attends (HAT)."""


def memory_states(arbitrary_attention: int) -> int:
    """Returns how many encoder layers' outputs are attended: -1 is the last one, 1 two, 2 three."""
    return MEMORY_STATES[arbitrary_attention]


def _width(embed_dim: int, qkv_dim: int | None) -> int:
    return embed_dim if qkv_dim is None else qkv_dim


def _heads(heads: int, width: int) -> tuple[str, str] | None:
    if width % heads == 0:
        return None
    return (
        f", allowed: a head count that divides the q/k/v width {width}",
        f", allowed: head counts that divide the q/k/v width {width}",
    )


def _reach(attention: int, layers: int) -> tuple[str, str] | None:
    if memory_states(attention) <= layers:
        return None
    needs = f", which needs {memory_states(attention)} encoder layers, but encoder.layers"
    return f"{needs} is {layers}", f"{needs} allows {layers}"


# Of the side that asks: in cross-attention the decoder's.
_QKV = Derived("qkv_dim", ("embed_dim", "qkv_dim"), _width)
_COMMON = (Trait("ffn_dims", part="ffn"), Trait("self_attention_heads", part="self_attn"))

SCHEMA = Schema(
    "translation",
    (
        Stack("encoder", (Trait("embed_dim"),), _COMMON, (_QKV,)),
        Stack(
            "decoder",
            (Trait("embed_dim"),),
            (
                *_COMMON,
                Trait("cross_attention_heads", part="encoder_attn"),
                Trait("arbitrary_attention", levels=MEMORY_STATES),
            ),
            (_QKV,),
        ),
    ),
    (Constant("qkv_dim", "embed", "the width follows embed_dim"),),
    (
        Rule("encoder.self_attention_heads", "encoder.qkv_dim", _heads),
        Rule("decoder.self_attention_heads", "decoder.qkv_dim", _heads),
        Rule("decoder.cross_attention_heads", "decoder.qkv_dim", _heads),
        Rule("decoder.arbitrary_attention", "encoder.layers", _reach),
    ),
)
