"""Dense models to measure: of a supernet, of a search space alone, or of any dense checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from fairseq.data import Dictionary
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.errors import UserError

SHARING = {
    "all": {"share_all_embeddings": True},
    "decoder": {"share_decoder_input_output_embed": True},
    "none": {},
}
"""How embeddings are shared -> the model's options."""


@dataclass(frozen=True)
class Subnets:
    """Where dense models come from.

    Attributes:
        space: the search space.
        build: architecture -> its dense model, in eval mode.
        vocabulary: entries of the source and of the target dictionary.
        origin: what the models are, for signatures.
    """

    space: SearchSpace
    build: Callable[[Architecture], nn.Module]
    vocabulary: tuple[int, int]
    origin: str


def of_checkpoint(path: str, data: str | None = None, state: dict | None = None) -> Subnets:
    """Returns the extracted subnets of a supernet checkpoint.

    Args:
        path: the checkpoint.
        data: folder with the dictionaries, see :func:`fairseq_mos.models.loading.find_dictionaries`.
        state: its content, where it was loaded already.

    Raises:
        UserError: no supernet, or dictionaries that are missing.
    """
    from fairseq_mos.models.loading import find_dictionaries, load_state, load_supernet, space_of

    if state is None:
        state = load_state(path)
    space_of(state, path)
    model = load_supernet(state, path, find_dictionaries(state, path, data))
    sizes = (len(model.encoder.dictionary), len(model.decoder.dictionary))
    return Subnets(model.space, model.extract, sizes, "supernet")


def of_space(space: SearchSpace, vocabulary: int = 32768, share: str = "all", device: str = "cpu") -> Subnets:
    """Returns subnets with random weights: sizes, FLOPs and latency do not depend on what weights say.

    Args:
        space: the search space.
        vocabulary: entries of the dictionary, special symbols included.
        share: a key of :data:`SHARING`.
        device: `meta` builds models without storage.

    Raises:
        UserError: an impossible vocabulary.
    """
    from fairseq_mos.models.config import MosSubnetConfig
    from fairseq_mos.models.mos_subnet import MosSubnet

    dictionary = made_up_dictionary(vocabulary)
    cfg = MosSubnetConfig(**SHARING[share])

    def build(architecture: Architecture) -> nn.Module:
        with torch.device(device):
            return MosSubnet.from_dictionaries(cfg, dictionary, dictionary, architecture).eval()

    return Subnets(space, build, (vocabulary, vocabulary), "random")


def made_up_dictionary(entries: int) -> Dictionary:
    """Returns a dictionary of `entries` entries, the special symbols among them.

    Raises:
        UserError: fewer entries than special symbols and a word.
    """
    result = Dictionary()
    if entries <= len(result):
        raise UserError(f"--vocabulary is {entries}, allowed: {len(result) + 1} or more entries")
    for index in range(entries - len(result)):
        result.add_symbol(f"word{index}")
    return result


def load_dense(state: dict, path: str, data: str | None = None) -> nn.Module:
    """Builds a dense encoder-decoder: an extracted subnet or fairseq's stock `transformer`.

    Args:
        state: its loaded checkpoint.
        path: the checkpoint's file.
        data: folder with the dictionaries, see :func:`fairseq_mos.models.loading.find_dictionaries`.

    Raises:
        UserError: no checkpoint of such a model, or dictionaries that are missing or do not fit.
    """
    from fairseq_mos.models.loading import find_dictionaries, load_model

    if not state.get("cfg") or "encoder.embed_tokens.weight" not in state["model"]:
        raise UserError(f"{path} is no checkpoint of a translation model with sizes that can be counted")
    return load_model(state, path, find_dictionaries(state, path, data))
