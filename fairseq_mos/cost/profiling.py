"""What `fairseq-mos profile` counts, and of which model."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from fairseq_mos.arch import SearchSpace
from fairseq_mos.arch.select import resolve
from fairseq_mos.cost import subnets
from fairseq_mos.cost.measured import count_flops, count_parameters
from fairseq_mos.errors import UserError
from fairseq_mos.paths import is_folder
from fairseq_mos.version import __version__


def load_model(
    path: str | None, space: str | None, architecture: str | None, data: str | None, vocabulary: int, share: str
) -> tuple[nn.Module, str]:
    """Returns a dense model and what to call it.

    Args:
        path: a supernet, whose subnet is extracted, or a dense checkpoint.
        space: a search space instead; the subnet then has random weights.
        architecture: of the supernet or space; the largest by default.
        data: folder with the dictionaries.
        vocabulary: entries of the dictionary, for a space.
        share: how embeddings are shared, for a space.

    Raises:
        UserError: unusable input.
    """
    from fairseq_mos.models.opening import open_model

    if path is None:
        source = subnets.of_space(SearchSpace.load(space), vocabulary, share)
    else:
        opened = open_model(path, data)
        if not opened.is_supernet:
            if architecture is not None:
                raise UserError(f"{path} is a dense model, which has one architecture: leave --architecture out")
            return opened.model, path
        source = subnets.of_checkpoint(opened)
    chosen = architecture or "largest"
    found = resolve(source.space, chosen)
    return source.build(found), f"{chosen} ({found.digest()}) of {path or f'search space {source.space.name}'}"


def profile(model: nn.Module, source_tokens: int = 30, target_tokens: int = 30) -> dict[str, int]:
    """Returns `params`, `params_no_embed`, `flops` (without the output layer) and `flops_output_layer`.

    Counted from the model itself, whatever it is; for subnets the closed form says the same (tested).
    """
    counted = count_parameters(model)
    # A copy without storage: the counter then computes nothing.
    shadow = copy.deepcopy(model).to("meta").eval()
    whole = count_flops(shadow, source_tokens, target_tokens, output_layer=True)
    inner = count_flops(shadow, source_tokens, target_tokens)
    return {
        "params": counted.total,
        "params_no_embed": counted.no_embed,
        "flops": inner,
        "flops_output_layer": whole - inner,
    }


def signature(model: nn.Module, source_tokens: int = 30, target_tokens: int = 30) -> dict[str, object]:
    """Returns what the values of :func:`profile` depend on besides the architecture."""
    return {
        "source_tokens": source_tokens,
        "target_tokens": target_tokens,
        "source_vocabulary": len(model.encoder.dictionary),
        "target_vocabulary": len(model.decoder.dictionary),
        "shared_embeddings": _sharing(model),
        "torch": torch.__version__.split("+")[0],
        "fairseq_mos": __version__,
    }


def _sharing(model: nn.Module) -> str:
    """Returns which tables the model shares, as :func:`fairseq_mos.cost.subnets.of_space` names it."""
    source, target = (side.embed_tokens.weight for side in (model.encoder, model.decoder))
    if source is target:
        return "all"
    output = model.decoder.output_projection
    # Our own networks have none where the target's table is the output layer.
    return "decoder" if output is None or output.weight is target else "none"


def read_sentences(model: nn.Module, data: str | None, split: str, count: int) -> list[Tensor]:
    """Returns the first source sentences of a binarised split.

    Raises:
        UserError: no folder, or no such split for the model's dictionary.
    """
    from fairseq.data import data_utils

    if data is None:
        raise UserError("--protocol generate needs sentences to translate: give --data")
    if count < 1:
        raise UserError(f"--sentences is {count}, allowed: 1 or more")
    source, target = data_utils.infer_language_pair(data) if is_folder(data) else (None, None)
    if source is None:
        raise UserError(f"{data} is no folder that fairseq-preprocess wrote")
    dataset = data_utils.load_indexed_dataset(
        str(Path(data) / f"{split}.{source}-{target}.{source}"), model.encoder.dictionary
    )
    if dataset is None or len(dataset) == 0:
        raise UserError(f"split {split!r} of {data} is missing or empty: see --gen-subset")
    sentences = [dataset[index].long() for index in range(min(count, len(dataset)))]
    if max(int(sentence.max()) for sentence in sentences) >= len(model.encoder.dictionary):
        raise UserError(f"split {split!r} of {data} was binarised with another dictionary than the model's")
    return sentences
