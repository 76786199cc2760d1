"""A subnet as a checkpoint of fairseq's stock `transformer`, which needs no plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

from fairseq.models.transformer import TransformerConfig, TransformerModel
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_mos.errors import UserError
from fairseq_mos.export import checkpoint
from fairseq_mos.families.translation.limits import require_last_memory
from fairseq_mos.families.translation.padding import padded_attention, padded_ffn
from fairseq_mos.models.bundle import Bundle

_KEPT = (
    "dropout", "attention_dropout", "activation_dropout", "activation_fn", "layernorm_embedding",
    "encoder_normalize_before", "decoder_normalize_before", "no_token_positional_embeddings",
    "max_source_positions", "max_target_positions",
)  # fmt: skip


def to_stock(bundle: Bundle) -> Bundle:
    """Returns the same function as fairseq's `transformer`.

    It has one feed-forward width and one head count a side, and queries as wide as the embedding, so smaller
    layers are padded with zeros, see :mod:`fairseq_mos.families.translation.padding`.

    Raises:
        UserError: the architecture does not allow it; names the layers.
    """
    architecture = bundle.subnet("stock")
    require_last_memory(architecture, "stock")
    encoder, decoder = architecture.encoder, architecture.decoder
    heads = {
        "encoder": _heads(
            "encoder",
            encoder.embed_dim,
            architecture.encoder.qkv_dim,
            {"self-attention": encoder.self_attention_heads},
        ),
        "decoder": _heads(
            "decoder",
            decoder.embed_dim,
            architecture.decoder.qkv_dim,
            {"self-attention": decoder.self_attention_heads, "cross-attention": decoder.cross_attention_heads},
        ),
    }
    options = bundle.config["model"]
    config: dict = {name: options[name] for name in _KEPT}
    same_width = encoder.embed_dim == decoder.embed_dim
    shared = bool(options["share_all_embeddings"])
    config.update(
        share_all_embeddings=shared and same_width,
        share_decoder_input_output_embed=shared or bool(options["share_decoder_input_output_embed"]),
        max_source_positions=int(options["max_source_positions"]),
    )
    for side, sizes in (("encoder", encoder), ("decoder", decoder)):
        config[f"{side}_embed_dim"] = sizes.embed_dim
        config[f"{side}_layers"] = sizes.layers
        config[f"{side}_ffn_embed_dim"] = max(sizes.ffn_dims)
        config[f"{side}_attention_heads"] = heads[side]
    cfg = _complete(config)
    stacks = bundle.model.encoder, bundle.model.decoder
    task = SimpleNamespace(source_dictionary=stacks[0].dictionary, target_dictionary=stacks[1].dictionary)
    model = TransformerModel.build_model(OmegaConf.create(cfg), task)
    model.load_state_dict(_weights(bundle.model, model.state_dict(), heads))
    return replace(bundle, model=model.eval(), config={**bundle.config, "model": cfg})


def write(
    bundle: Bundle,
    output: str | Path,
    check: Callable[[Path], None] | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Writes a checkpoint of the stock `transformer`, dictionaries and subword model beside it.

    Args:
        bundle: the subnet.
        output: the file.
        check: see :func:`fairseq_mos.export.checkpoint.publish`.
        say: told of the zeros that padding added.

    Returns:
        What was written.

    Raises:
        UserError: as :func:`to_stock`, or an output that cannot be written.
    """
    stock = to_stock(bundle)
    added = sum(p.numel() for p in stock.model.parameters()) - sum(p.numel() for p in bundle.model.parameters())
    wrote = checkpoint.write(stock, output, check)
    if added > 0:
        say(f"the stock model has one size for all layers: padding added {added:,} zeros")
    return wrote


def _complete(config: dict) -> dict:
    """Fills in the stock model's defaults; a legacy model wants them flat."""
    flat: dict = {"_name": "transformer", "arch": "transformer"}
    default = OmegaConf.to_container(OmegaConf.structured(TransformerConfig()), enum_to_str=True)
    for field in fields(TransformerConfig):
        value = default[field.name]
        if isinstance(value, dict):
            flat.update({f"{field.name}_{name}": inner for name, inner in value.items()})
        else:
            flat[field.name] = value
    flat.update(quant_noise_pq=0.0, quant_noise_pq_block_size=8, quant_noise_scalar=0.0)
    flat.update(decoder_input_dim=config["decoder_embed_dim"], decoder_output_dim=config["decoder_embed_dim"])
    return {**flat, **config}


def _heads(side: str, embed_dim: int, qkv_dim: int, counts: dict[str, tuple[int, ...]]) -> int:
    """Returns a head count whose heads hold those of every layer; `counts` is attention -> heads of each layer."""
    every = [count for layers in counts.values() for count in layers]
    most, widest = max(every), qkv_dim // min(every)
    for heads in range(most, embed_dim + 1):
        if embed_dim % heads == 0 and embed_dim // heads >= widest:
            return heads
    if qkv_dim > embed_dim:
        advice = f"choose an architecture whose {side} is at least {qkv_dim} wide"
    else:
        advice = f"choose an architecture whose {side} layers have equal heads (a space with one head count a side)"
    found = []
    for count in sorted(set(every)):
        places = [
            f"{attention} of layer{'s' if layers.count(count) > 1 else ''} "
            + ", ".join(str(index) for index, own in enumerate(layers) if own == count)
            for attention, layers in counts.items()
            if count in layers
        ]
        found.append(f"{count} heads of {qkv_dim // count} ({side} {'; '.join(places)})")
    raise UserError(
        f"--format stock has one head count a side and queries as wide as the embedding: {', '.join(found)} do not fit "
        f"into {embed_dim} channels; {advice}"
    )


def _weights(subnet, wanted: dict[str, Tensor], heads: dict[str, int]) -> dict[str, Tensor]:
    """Returns the stock model's state; what the subnet does not have keeps the stock model's value."""
    state = dict(wanted)
    own = subnet.state_dict()
    for name, tensor in own.items():
        if name in state and tensor.shape == state[name].shape:
            state[name] = tensor
    for side in ("encoder", "decoder"):
        stack = getattr(subnet, side)
        table = stack.embed_tokens.weight.detach()[:, : stack.embed_dim]
        state[f"{side}.embed_tokens.weight"] = table.contiguous()
        head_dim = stack.embed_dim // heads[side]
        for index, layer in enumerate(stack.layers):
            parts = {**padded_ffn(layer, wanted[f"{side}.layers.{index}.fc1.weight"].shape[0])}
            for attention in ("self_attn", "encoder_attn"):
                if hasattr(layer, attention):
                    padded = padded_attention(getattr(layer, attention), heads[side], head_dim)
                    parts.update({f"{attention}.{name}": value for name, value in padded.items()})
            for name, (weight, bias) in parts.items():
                state[f"{side}.layers.{index}.{name}.weight"] = weight
                state[f"{side}.layers.{index}.{name}.bias"] = bias
    if subnet.decoder.output_projection is None:
        state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]
    else:
        state["decoder.output_projection.weight"] = own["decoder.output_projection.weight"]
    return state
