"""Dense models to measure: of a supernet, of a search space alone, or of any dense checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace

if TYPE_CHECKING:
    from fairseq_mos.models.opening import Opened


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


def of_checkpoint(opened: Opened) -> Subnets:
    """Returns the extracted subnets of an opened supernet.

    Raises:
        UserError: no supernet, or dictionaries that are missing.
    """
    space, model = opened.space, opened.model
    sizes = (len(model.encoder.dictionary), len(model.decoder.dictionary))
    return Subnets(space, model.extract, sizes, "supernet")


def of_space(space: SearchSpace, vocabulary: int = 32768, share: str = "all", device: str = "cpu") -> Subnets:
    """Returns subnets with random weights: sizes, FLOPs and latency do not depend on what weights say.

    Args:
        space: the search space.
        vocabulary: entries of the dictionary, special symbols included.
        share: which embeddings are shared: `all`, the `decoder`'s or `none`.
        device: `meta` builds models without storage.

    Raises:
        UserError: an impossible vocabulary.
    """
    from fairseq_mos.families.translation.texts import made_up_dictionary
    from fairseq_mos.models.config import MosSubnetConfig
    from fairseq_mos.models.mos_subnet import MosSubnet

    dictionary = made_up_dictionary(vocabulary)
    cfg = MosSubnetConfig(
        share_all_embeddings=share == "all", share_decoder_input_output_embed=share == "decoder"
    )

    def build(architecture: Architecture) -> nn.Module:
        with torch.device(device):
            return MosSubnet.from_dictionaries(cfg, dictionary, dictionary, architecture).eval()

    return Subnets(space, build, (vocabulary, vocabulary), "random")
