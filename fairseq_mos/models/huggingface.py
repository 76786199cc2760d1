"""Hugging Face folders with BERT or RoBERTa (`config.json`, `model.safetensors`), read without `transformers`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from fairseq_mos import wordpiece
from fairseq_mos.documents import convert, read_json, show
from fairseq_mos.errors import UserError
from fairseq_mos.models.pretrained import Field, Pretrained
from fairseq_mos.models.weights import read_tensors
from fairseq_mos.paths import is_file

CONFIG, WEIGHTS, DICTIONARY = "config.json", "model.safetensors", "dict.txt"

ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "gelu_new": "gelu_accurate"}
"""Its names of activations -> fairseq's."""

_PAD = 1
"""fairseq's number of the padding: positions begin after it."""

_PREFIX = "encoder.sentence_encoder."
_TABLE, _POSITIONS = f"{_PREFIX}embed_tokens.weight", f"{_PREFIX}embed_positions.weight"
_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
_HEADS = {
    "roberta": {"dense_layer": "lm_head.dense", "layer_norm": "lm_head.layer_norm", "": "lm_head"},
    "bert": {
        "dense_layer": "cls.predictions.transform.dense",
        "layer_norm": "cls.predictions.transform.LayerNorm",
        "": "cls.predictions",
    },
}

_Size = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]


class _Config(msgspec.Struct):
    """What is read of `config.json`; the defaults are those of `transformers`."""

    hidden_size: _Size
    intermediate_size: _Size
    num_hidden_layers: _Size
    num_attention_heads: _Size
    max_position_embeddings: _Size
    vocab_size: _Size
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    pad_token_id: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    tie_word_embeddings: bool = True


def token_types(kind: str) -> str:
    """Returns the name of the table of token types, which fairseq does not have."""
    return f"{kind}.embeddings.token_type_embeddings.weight"


def names(kind: str, layers: int) -> dict[str, str]:
    """Returns our names of a model's tensors -> those of `transformers`.

    Args:
        kind: `bert` or `roberta`.
        layers: how many it has.
    """
    found = {
        _TABLE: f"{kind}.embeddings.word_embeddings.weight",
        _POSITIONS: f"{kind}.embeddings.position_embeddings.weight",
        "encoder.lm_head.bias": f"{_HEADS[kind]['']}.bias",
    }
    pairs = {f"{_PREFIX}layernorm_embedding": f"{kind}.embeddings.LayerNorm"}
    for index in range(layers):
        before = f"{_PREFIX}layers.{index}.", f"{kind}.encoder.layer.{index}."
        pairs.update({before[0] + ours: before[1] + theirs for ours, theirs in _LAYER.items()})
    pairs.update({f"encoder.lm_head.{ours}": theirs for ours, theirs in _HEADS[kind].items() if ours})
    for ours, theirs in pairs.items():
        found.update({f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")})
    return found


def read_folder(folder: Path) -> Pretrained:
    """Reads a masked language model.

    BERT's segments are left out: the first one's row is added to every position, since fairseq has none.

    Raises:
        UserError: a file that is missing or damaged, another kind of model, or what fairseq's RoBERTa has not.
    """
    values = read_json(folder / CONFIG, "configuration of the model")
    kind, config = values.get("model_type"), f"{folder / CONFIG}"
    if kind not in _HEADS:
        raise UserError(f"{config}: model_type is {show(kind)}, allowed: {', '.join(sorted(_HEADS))}")
    # RoBERTa's own default of the padding; that of the others is BERT's.
    cfg = convert({"pad_token_id": 1, **values} if kind == "roberta" else values, _Config, config)
    _check(cfg, kind, config)
    fields = (
        Field("hidden_size", "encoder_embed_dim", cfg.hidden_size),
        Field("intermediate_size", "encoder_ffn_embed_dim", cfg.intermediate_size),
        Field("num_hidden_layers", "encoder_layers", cfg.num_hidden_layers),
        Field("num_attention_heads", "encoder_attention_heads", cfg.num_attention_heads),
        Field("hidden_act", "activation_fn", ACTIVATIONS[cfg.hidden_act]),
        Field("layer_norm_eps", "layer_norm_eps", cfg.layer_norm_eps),
        Field("layer norm before each sublayer", "encoder_normalize_before", False),
    )
    return Pretrained(config, fields, _weights(folder, kind, cfg), _entries(folder, kind, cfg.vocab_size))


def _check(cfg: _Config, kind: str, where: str) -> None:
    # RoBERTa's head has GELU, whatever its layers have.
    acts = ("gelu",) if kind == "roberta" else tuple(ACTIVATIONS)
    allowed = {
        "hidden_act": acts, "position_embedding_type": ("absolute",), "is_decoder": (False,),
        "tie_word_embeddings": (True,),
    }  # fmt: skip
    for name, choices in allowed.items():
        value = getattr(cfg, name)
        if value not in choices:
            raise UserError(f"{where}: {name} is {show(value)}, allowed: {', '.join(map(str, choices))}")


def _weights(folder: Path, kind: str, cfg: _Config) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    if not is_file(file):
        raise UserError(f"{file} is missing: save the model with safe_serialization=True, in one file")
    # Old files have the norms' first names.
    renamed = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
    tensors = read_tensors(file)
    for old, new in renamed:
        tensors = {re.sub(old, new, name): tensor for name, tensor in tensors.items()}
    width, table = cfg.hidden_size, names(kind, cfg.num_hidden_layers)

    def take(name: str, *shape: int | None) -> Tensor:
        if name not in tensors:
            raise UserError(f"{file}: {name} is missing")
        found = tensors[name]
        if len(shape) != found.dim() or any(size not in (None, own) for size, own in zip(shape, found.shape)):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise UserError(f"{file}: {name} is of shape {tuple(found.shape)}, but {CONFIG} says ({wanted})")
        return found.float()

    found = {ours: take(theirs, *_shape(ours, cfg)) for ours, theirs in table.items()}
    rows = found[_POSITIONS]
    if kind == "roberta":
        if cfg.pad_token_id + 1 >= len(rows):
            raise UserError(f"{folder / CONFIG}: max_position_embeddings is {len(rows)}, allowed: more than padding")
        rows = rows[cfg.pad_token_id + 1 :]
    first = take(token_types(kind), None, width)[0]
    found[_POSITIONS] = torch.cat([rows.new_zeros(_PAD + 1, width), rows + first])
    return found


def _shape(name: str, cfg: _Config) -> tuple[int, ...]:
    width = cfg.hidden_size
    tables = {_TABLE: cfg.vocab_size, _POSITIONS: cfg.max_position_embeddings}
    if name in tables:
        return tables[name], width
    if name == "encoder.lm_head.bias":
        return (cfg.vocab_size,)
    rows, columns = width, width
    if ".fc1." in name:
        rows = cfg.intermediate_size
    elif ".fc2." in name:
        columns = cfg.intermediate_size
    matrix = name.endswith(".weight") and "norm" not in name
    return (rows, columns) if matrix else (rows,)


def _entries(folder: Path, kind: str, rows: int) -> tuple[str, ...] | None:
    if kind == "bert":
        # BERT's entries have another order than fairseq's dictionaries.
        file = folder / wordpiece.FILE
        found = [wordpiece.SPECIAL.get(entry, entry) for entry in wordpiece.read_entries(file)]
    elif is_file(folder / DICTIONARY):
        from fairseq.data import Dictionary

        file, dictionary = folder / DICTIONARY, Dictionary.load(str(folder / DICTIONARY))
        if "<mask>" not in dictionary.indices:
            dictionary.add_symbol("<mask>")
        found = dictionary.symbols
    else:
        return None
    if len(found) > rows:
        raise UserError(f"{file} has {len(found)} entries, but {folder / CONFIG} says vocab_size {rows}")
    return tuple(found)


def config_of(sizes: Mapping[str, int], entries: int, rows: int, options: Mapping[str, Any]) -> dict[str, object]:
    """Returns `config.json` of a RoBERTa.

    Args:
        sizes: fairseq's names of sizes.
        entries: of the dictionary.
        rows: of the table of positions.
        options: of our model.
    """
    return {
        "architectures": ["RobertaForMaskedLM"],
        "model_type": "roberta",
        "hidden_size": sizes["encoder_embed_dim"],
        "intermediate_size": sizes["encoder_ffn_embed_dim"],
        "num_hidden_layers": sizes["encoder_layers"],
        "num_attention_heads": sizes["encoder_attention_heads"],
        "hidden_act": "gelu",
        "hidden_dropout_prob": float(options["dropout"]),
        "attention_probs_dropout_prob": float(options["attention_dropout"]),
        "layer_norm_eps": float(options["layer_norm_eps"]),
        "max_position_embeddings": rows,
        "type_vocab_size": 1,
        "vocab_size": entries,
        "initializer_range": 0.02,
        "bos_token_id": 0,
        "pad_token_id": _PAD,
        "eos_token_id": 2,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }
