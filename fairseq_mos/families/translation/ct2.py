"""A subnet as a CTranslate2 model: fast inference on CPU and GPU without fairseq or torch.

CTranslate2's decoder reads the last encoder layer alone and has one head count a stack; smaller counts are
padded with zero heads, feed-forward widths are free.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fairseq.data import Dictionary
from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import copy_beside
from fairseq_mos.families.texts import BESIDE
from fairseq_mos.families.translation import probe
from fairseq_mos.families.translation.limits import require_last_memory
from fairseq_mos.families.translation.padding import padded_attention
from fairseq_mos.files import replaced_folder
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.paths import listing

QUANTIZATIONS = ("float32", "int8", "int8_float32", "int16", "float16", "bfloat16")
_FILES = ("model.bin", "config.json", "about.json", "*vocabulary.*")
_PADDING = "<blank>"
_ACTIVATIONS = {
    "relu": "RELU", "gelu": "GELU", "gelu_accurate": "GELUTanh", "gelu_fast": "GELUTanh", "swish": "SWISH",
}  # fmt: skip


def write(
    bundle: Bundle,
    folder: str | Path,
    check: Callable[[Path], None] | None = None,
    quantization: str = "float32",
) -> list[Path]:
    """Writes a folder for `ctranslate2.Translator`, the subword model in it.

    Args:
        bundle: the subnet.
        folder: to write; replaced if it is such a folder already.
        check: called with the new folder before it is put in its place; an error leaves all as it was.
        quantization: one of :data:`QUANTIZATIONS`.

    Returns:
        What was written.

    Raises:
        UserError: an architecture or option that CTranslate2 does not know, naming the layers; a folder that
            cannot be written or holds something else; ctranslate2 that is missing.
    """
    if quantization not in QUANTIZATIONS:
        raise UserError(f"--quantization is {quantization!r}, allowed: {', '.join(QUANTIZATIONS)}")
    spec = _spec(bundle)
    spec.validate()
    spec.optimize(quantization=None if quantization == "float32" else quantization)
    folder = Path(folder)
    with replaced_folder(folder, (*_FILES, *BESIDE), kept=["README.md"]) as new:
        spec.save(str(new))
        if bundle.data.subwords:
            copy_beside([bundle.data.subwords], new)
        about = {**bundle.data.to_dict(), "quantization": quantization}
        (new / "about.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        if check is not None:
            check(new)
    return listing(folder)


def run(folder: Path, sentences: Sequence[list[str]]) -> list[probe.Translation]:
    """Translates greedily with CTranslate2."""
    import ctranslate2

    translator = ctranslate2.Translator(str(folder), compute_type="default")
    # CTranslate2 reads symbols: what stands for an unknown word has the dictionary's name in both.
    results = translator.translate_batch(
        [list(sentence) for sentence in sentences],
        beam_size=1,
        max_decoding_length=probe.MAX_LENGTH,
        # An excluded token's probability would go to the others before scores are taken; fairseq's do not.
        min_decoding_length=0,
        max_input_length=0,
        return_scores=True,
    )
    return [probe.Translation(result.hypotheses[0], float(result.scores[0])) for result in results]


def _spec(bundle: Bundle):
    architecture = bundle.subnet("ctranslate2")
    require_last_memory(architecture, "ctranslate2")
    options = bundle.config["model"]
    activation = _ACTIVATIONS.get(str(options["activation_fn"]))
    if activation is None:
        allowed = ", ".join(_ACTIVATIONS)
        raise UserError(f"--format ctranslate2: activation_fn is {options['activation_fn']}, allowed: {allowed}")
    if options["no_token_positional_embeddings"]:
        raise UserError("--format ctranslate2 needs positions: no_token_positional_embeddings is not allowed")
    if options["encoder_normalize_before"] != options["decoder_normalize_before"]:
        raise UserError("--format ctranslate2 needs pre-norm or post-norm for encoder and decoder alike")
    try:
        from ctranslate2.specs import common_spec, transformer_spec
    except ImportError as error:
        raise UserError('this needs ctranslate2: pip install "fairseq-mos[export]"') from error
    common = {
        # Else it would be taken to be the embed width over the heads; set for each layer below.
        "head_dim": 1,
        "pre_norm": bool(options["encoder_normalize_before"]),
        "activation": common_spec.Activation[activation],
        "layernorm_embedding": bool(options["layernorm_embedding"]),
    }
    encoder, decoder = architecture.encoder, architecture.decoder
    heads = max(encoder.self_attention_heads), max(*decoder.self_attention_heads, *decoder.cross_attention_heads)
    spec = transformer_spec.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(encoder.layers, heads[0], **common),
        transformer_spec.TransformerDecoderSpec(decoder.layers, heads[1], **common),
    )
    model = bundle.model
    _fill_stack(spec.encoder, model.encoder, heads[0], int(options["max_source_positions"]))
    _fill_stack(spec.decoder, model.decoder, heads[1], int(options["max_target_positions"]))
    output = model.decoder.output_projection
    table = model.decoder.embed_tokens.weight[:, : model.decoder.embed_dim]
    spec.decoder.projection.weight = _array(table if output is None else output.weight)
    for register, stack, file in zip(
        (spec.register_source_vocabulary, spec.register_target_vocabulary),
        (model.encoder, model.decoder),
        bundle.data.dictionaries,
    ):
        register(_vocabulary(stack.dictionary, file))
    spec.config.decoder_start_token = spec.config.eos_token
    spec.config.add_source_eos = True
    return spec


def _vocabulary(dictionary: Dictionary, file: Path) -> list[str]:
    """Returns the words with CTranslate2's name of the padding; it finds words by name, so each has to be unique."""
    words = [_PADDING if word == dictionary.pad_word else word for word in dictionary.symbols]
    word, count = Counter(words).most_common(1)[0]
    if count > 1:
        what = "which is its name of the padding" if word == _PADDING else "twice"
        raise UserError(f"--format ctranslate2: {file} has the word {word}, {what}: its words have to be unique")
    return words


def _array(tensor: Tensor):
    # A copy: CTranslate2 quantises in place.
    return tensor.detach().float().contiguous().numpy().copy()


def _fill_stack(spec, stack: nn.Module, heads: int, max_positions: int) -> None:
    embeddings = spec.embeddings[0] if isinstance(spec.embeddings, list) else spec.embeddings
    embeddings.weight = _array(stack.embed_tokens.weight[:, : stack.embed_dim])
    spec.scale_embeddings = stack.embed_dim**0.5
    first = stack.padding_idx + 1
    # The end of the sentence takes a position as well.
    table = SinusoidalPositionalEmbedding.get_embedding(first + max_positions + 1, stack.embed_dim, stack.padding_idx)
    spec.position_encodings.encodings = _array(table[first:])
    for name in ("layer_norm", "layernorm_embedding"):
        if getattr(stack, name) is not None:
            _fill_norm(getattr(spec, name), getattr(stack, name))
    for layer_spec, layer in zip(spec.layer, stack.layers):
        _fill_norm(layer_spec.ffn.layer_norm, layer.final_layer_norm)
        for linear_spec, linear in ((layer_spec.ffn.linear_0, layer.ffn.fc1), (layer_spec.ffn.linear_1, layer.ffn.fc2)):
            _fill_linear(linear_spec, linear.weight, linear.bias)
        _fill_attention(layer_spec.self_attention, layer.self_attn, layer.self_attn_layer_norm, heads)
        if hasattr(layer, "encoder_attn"):
            _fill_attention(layer_spec.attention, layer.encoder_attn, layer.encoder_attn_layer_norm, heads)


def _fill_norm(spec, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _fill_linear(spec, weight: Tensor, bias: Tensor | None) -> None:
    spec.weight = _array(weight)
    if bias is not None:
        spec.bias = _array(bias)


def _fill_attention(spec, attention: nn.Module, norm: nn.Module, heads: int) -> None:
    import numpy as np
    from ctranslate2.converters.utils import fuse_linear
    from ctranslate2.specs import common_spec

    head_dim = attention.q_proj.weight.shape[0] // attention.num_heads
    parts = {}
    for name, (weight, bias) in padded_attention(attention, heads, head_dim).items():
        parts[name] = common_spec.LinearSpec()
        _fill_linear(parts[name], weight, bias)
    spec.head_dim = np.int32(head_dim)
    _fill_norm(spec.layer_norm, norm)
    if attention.static_memory:
        spec.linear[0] = parts["q_proj"]
        fuse_linear(spec.linear[1], [parts["k_proj"], parts["v_proj"]])
    else:
        fuse_linear(spec.linear[0], [parts["q_proj"], parts["k_proj"], parts["v_proj"]])
    spec.linear[-1] = parts["out_proj"]
