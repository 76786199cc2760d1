"""Setting the active architecture of an elastic network, and collapsing it to dense tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fairseq_mos.arch import Architecture, memory_states
from fairseq_mos.modules.attention import Attention
from fairseq_mos.modules.decoder import Decoder
from fairseq_mos.modules.elastic import Elastic
from fairseq_mos.modules.encoder import Encoder, max_memory_states


def activate(encoder: Encoder, decoder: Decoder, architecture: Architecture, encoding: Tensor) -> None:
    """Hands every active layer its sizes and every router the encoding.

    Args:
        encoder: an encoder with elastic leaves.
        decoder: a decoder with elastic leaves.
        architecture: fits into their super sizes.
        encoding: what the routers are fed with, (length of the encoding).
    """
    enc, dec = architecture.encoder, architecture.decoder
    _resize_tables(encoder, decoder, enc.embed_dim, dec.embed_dim)
    encoder.memory_states = max_memory_states(architecture)
    qkv_dim = architecture.encoder_qkv_dim()
    for stack, sizes in ((encoder, enc), (decoder, dec)):
        stack.embed_dim = sizes.embed_dim
        stack.active_layers = sizes.layers
        for norm in (stack.layernorm_embedding, stack.layer_norm):
            if norm is not None:
                norm.resize(sizes.embed_dim)
        for layer, ffn_dim in zip(stack.layers, sizes.ffn_dims):
            layer.fc1.resize(sizes.embed_dim, ffn_dim)
            layer.fc2.resize(ffn_dim, sizes.embed_dim)
            if layer.routing is not None:
                layer.routing.resize(encoding, ffn_dim, sizes.embed_dim)
            layer.self_attn_layer_norm.resize(sizes.embed_dim)
            layer.final_layer_norm.resize(sizes.embed_dim)
    for layer, heads in zip(encoder.layers, enc.self_attention_heads):
        _resize_attention(layer.self_attn, enc.embed_dim, enc.embed_dim, qkv_dim, heads)
    qkv_dim = architecture.decoder_qkv_dim()
    for layer, self_heads, cross_heads, attention in zip(
        decoder.layers, dec.self_attention_heads, dec.cross_attention_heads, dec.arbitrary_attention
    ):
        _resize_attention(layer.self_attn, dec.embed_dim, dec.embed_dim, qkv_dim, self_heads)
        _resize_attention(layer.encoder_attn, dec.embed_dim, enc.embed_dim, qkv_dim, cross_heads)
        layer.encoder_attn_layer_norm.resize(dec.embed_dim)
        layer.memory_dim = enc.embed_dim
        layer.memory_states = memory_states(attention)


def _resize_tables(encoder: Encoder, decoder: Decoder, encoder_dim: int, decoder_dim: int) -> None:
    if encoder.embed_tokens is decoder.embed_tokens:
        encoder.embed_tokens.resize(max(encoder_dim, decoder_dim))
    else:
        encoder.embed_tokens.resize(encoder_dim)
        decoder.embed_tokens.resize(decoder_dim)
    if decoder.output_projection is not None:
        decoder.output_projection.resize(decoder_dim, len(decoder.dictionary))


def _resize_attention(
    attention: Attention, embed_dim: int, memory_dim: int, qkv_dim: int, heads: int
) -> None:
    attention.q_proj.resize(embed_dim, qkv_dim)
    attention.k_proj.resize(memory_dim, qkv_dim)
    attention.v_proj.resize(memory_dim, qkv_dim)
    attention.out_proj.resize(qkv_dim, embed_dim)
    attention.num_heads = heads


def scale_dropout(encoder: Encoder, decoder: Decoder, dropout: float, super_dims: tuple[int, int]) -> None:
    """Scales dropout with the active width over the super width; attention dropout stays (HAT).

    Args:
        encoder: an activated encoder.
        decoder: an activated decoder.
        dropout: probability at super width.
        super_dims: super embed widths of encoder and decoder.
    """
    for stack, super_dim in zip((encoder, decoder), super_dims):
        for part in (stack, *stack.layers):
            part.dropout_module.p = dropout * stack.embed_dim / super_dim


@torch.no_grad()
def collapse(model: nn.Module) -> dict[str, Tensor]:
    """Returns the state dict of the dense network that equals the active architecture of `model`.

    Args:
        model: has `encoder` and `decoder` with elastic leaves, in eval mode.

    Returns:
        New tensors, without experts and routers. A table that encoder and decoder share is there under both
        names, as one tensor.
    """
    state = {}
    for name, leaf, mix in _active_leaves(model):
        shared_with = f"encoder.{name[8:]}" if name.startswith("decoder.embed_tokens") else None
        if shared_with and model.decoder.embed_tokens is model.encoder.embed_tokens:
            state[f"{name}.weight"] = state[f"{shared_with}.weight"]
            continue
        for key, value in leaf.dense_tensors(*mix):
            state[f"{name}.{key}"] = value.detach().clone(memory_format=torch.contiguous_format)
    return state


def _active_leaves(model: nn.Module) -> Iterator[tuple[str, Elastic, tuple]]:
    for side in ("encoder", "decoder"):
        stack = getattr(model, side)
        for name, child in stack.named_children():
            if isinstance(child, Elastic):
                yield f"{side}.{name}", child, ()
        for i, layer in enumerate(stack.layers[: stack.active_layers]):
            mixes = dict(zip(("fc1", "fc2"), layer.mixes()))
            for name, child in layer.named_modules():
                if isinstance(child, Elastic) and not name.startswith("routing"):
                    yield f"{side}.layers.{i}.{name}", child, mixes.get(name, ())


def is_elastic(model: nn.Module) -> bool:
    """Whether `model` is a supernet."""
    return any(isinstance(module, Elastic) for module in model.modules())
