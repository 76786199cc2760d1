"""Starting a supernet of masked language models from a trained encoder: `--init-from`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fairseq_mos.arch.architecture import Architecture
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError
from fairseq_mos.models import huggingface
from fairseq_mos.models.masked_lm import POSITIONS, TABLE
from fairseq_mos.models.opening import open_model
from fairseq_mos.models.pretrained import Field, Pretrained
from fairseq_mos.modules.elastic import Routed
from fairseq_mos.modules.init import scattered
from fairseq_mos.modules.residuals import is_residual
from fairseq_mos.paths import is_file, is_folder

_ROWS = (TABLE, "encoder.lm_head.bias")
_EPS = 1e-5
"""Of fairseq's own layer norms."""

_MADE_UP = "madeupword"
"""How fairseq names the entries that round a dictionary's size up."""


def read(path: str) -> Pretrained:
    """Reads a trained encoder.

    Args:
        path: a fairseq checkpoint of `roberta` (or a subnet's, or an exported folder), or a folder of Hugging Face
            `transformers` with BERT or RoBERTa.

    Raises:
        UserError: nothing of the kind, or damaged.
    """
    if is_folder(path) and is_file(Path(path) / huggingface.CONFIG):
        return huggingface.read_folder(Path(path))
    if is_folder(path) and not is_file(Path(path) / "arch.json"):
        raise UserError(f"{path} holds neither {huggingface.CONFIG} (of transformers) nor arch.json (of an export)")
    opened = open_model(path)
    if opened.family.schema.family != "masked_lm" or opened.is_supernet:
        kind = "a supernet" if opened.is_supernet else f"of family {opened.family.schema.family}"
        raise UserError(f"{path} is {kind}, allowed: a roberta of fairseq, BERT or RoBERTa of transformers")
    return _of_model(opened.model, str(path))


def _of_model(model: nn.Module, where: str) -> Pretrained:
    state, encoder = dict(model.state_dict()), model.encoder.sentence_encoder
    if any("bottleneck" in name for name in state):
        raise UserError(f"{where} has bottlenecks around its layers: start from a model of one width")
    own = state.pop("encoder.lm_head.weight", state[TABLE])
    if not torch.equal(own, state[TABLE]):
        raise UserError(f"{where} has another table in its head than in its embedding (untie_weights_roberta)")
    options = getattr(model, "cfg", None) or model.args
    names = ("embed_dim", "ffn_embed_dim", "layers", "attention_heads")
    values = {f"encoder_{name}": getattr(model.args, f"encoder_{name}") for name in names}
    values["activation_fn"] = str(options.activation_fn)
    values["layer_norm_eps"] = float(getattr(options, "layer_norm_eps", _EPS))
    values["encoder_normalize_before"] = encoder.layer_norm is not None
    renamed = {name.replace("lm_head.dense.", "lm_head.dense_layer."): tensor for name, tensor in state.items()}
    kept = {name: t for name, t in renamed.items() if not name.startswith("classification_heads.")}
    kept.pop("encoder.sentence_encoder.version", None)
    fields = tuple(Field(name, name, value) for name, value in values.items())
    return Pretrained(where, fields, kept, tuple(model.encoder.dictionary.symbols))


@torch.no_grad()
def initialise(model: nn.Module, source: Pretrained, largest: Mapping[str, object], spread: float) -> None:
    """Gives a supernet the weights of a trained encoder of its super size.

    Bottlenecks become identities. Experts become copies, scattered around the source's weight where they are mixed:
    of equal experts a router's gradient is zero.

    Args:
        model: the supernet.
        source: the encoder.
        largest: what of :attr:`Pretrained.fields` ours has.
        spread: of the experts, relative to the standard deviation of the weight.

    Raises:
        UserError: another size, option or vocabulary; names it.
    """
    for field in source.fields:
        mine = largest[field.ours]
        if field.value != mine:
            theirs = f"{field.theirs} is {show(field.value)}"
            raise UserError(f"--init-from {source.where}: {theirs}, but this supernet's {field.ours} is {show(mine)}")
    architecture: Architecture = model.space.largest()
    hidden = architecture.encoder.hidden_dims
    if hidden and set(hidden) != {architecture.encoder.embed_dim}:
        raise UserError(
            f"--init-from {source.where}: encoder.hidden_dims of the largest architecture are {list(hidden)}, allowed: "
            f"embed_dim, {architecture.encoder.embed_dim}, so that bottlenecks can start as identities"
        )
    wanted = model.state_dict()
    found = _with_rows(source, model.encoder.dictionary.symbols, wanted)
    for name, tensor in wanted.items():
        if "_bottleneck." in name and not _is_ours(name):
            identity = torch.eye(*tensor.shape) if tensor.dim() == 2 else torch.zeros_like(tensor)
            found[name] = identity.to(tensor)
    gated = any(part.gate is not None for part in model.modules() if isinstance(part, Routed))
    state = {name: _fitted(name, tensor, wanted, source, 0.0 if gated else spread) for name, tensor in found.items()}
    missing = [name for name in wanted if name not in state and not _is_ours(name)]
    if missing:
        raise UserError(f"--init-from {source.where}: {missing[0]} is missing")
    model.load_state_dict({**wanted, **state})


def _is_ours(name: str) -> bool:
    """Whether no source has such a tensor: routers, modulation, differences and the check of the space."""
    return is_residual(name) or name == "search_space_version"


def _with_rows(source: Pretrained, symbols: list[str], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the source's weights with a row for each symbol and each position of ours."""
    found, entries = dict(source.weights), source.entries
    if entries is None:
        rows = len(found[TABLE])
        if rows != len(symbols):
            raise UserError(
                f"--init-from {source.where}: vocab_size is {rows}, but the dictionary has {len(symbols)} entries with "
                f"<mask> (a {huggingface.DICTIONARY} beside it would say which is which)"
            )
    elif tuple(symbols) != entries:
        place = {symbol: row for row, symbol in enumerate(entries)}
        lacking = [symbol for symbol in symbols if symbol not in place and not symbol.startswith(_MADE_UP)]
        if lacking:
            raise UserError(
                f"--init-from {source.where}: its vocabulary lacks {len(lacking)} of the dictionary's {len(symbols)} "
                f"entries, such as {show(lacking[0])}"
            )
        own = torch.tensor([place.get(symbol, -1) for symbol in symbols])
        for name in _ROWS:
            given = found[name][own]
            # What stands for no word keeps what it was drawn as.
            given[own < 0] = wanted[name][own < 0].to(given)
            found[name] = given
    else:
        for name in _ROWS:
            found[name] = found[name][: len(symbols)]
    rows = len(wanted[POSITIONS])
    if len(found[POSITIONS]) < rows:
        # Both begin after the padding.
        before = symbols.index("<pad>") + 1
        given = len(found[POSITIONS]) - before
        raise UserError(
            f"--init-from {source.where}: it has {given} positions, but --max-positions is {rows - before}, allowed: "
            f"{given} at most"
        )
    found[POSITIONS] = found[POSITIONS][:rows]
    return found


def _fitted(name: str, tensor: Tensor, wanted: Mapping[str, Tensor], source: Pretrained, spread: float) -> Tensor:
    if name not in wanted:
        raise UserError(f"--init-from {source.where}: {name} has no place in this supernet")
    like = wanted[name]
    if like.shape == tensor.shape:
        return tensor.to(like)
    if like.shape[1:] != tensor.shape or like.dim() != tensor.dim() + 1:
        raise UserError(
            f"--init-from {source.where}: {name} is of shape {tuple(tensor.shape)}, but here of {tuple(like.shape)}"
        )
    if tensor.dim() == 1 or not spread:
        return tensor.to(like).expand_as(like).clone()
    center = tensor.to(like)
    return scattered(center, torch.randn_like(like) * center.std(), spread)
