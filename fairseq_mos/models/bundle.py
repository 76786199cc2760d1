"""A dense model with all that it needs to run: what the exporters and the hub work on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from fairseq_mos.families.translation.texts import Texts


@dataclass(frozen=True)
class Bundle:
    """A dense model and its surroundings.

    Attributes:
        model: a `mos_subnet`, or fairseq's stock `transformer`, in eval mode.
        config: fairseq's whole configuration, plain; its task and model are the dense model's.
        data: the files around the weights, and how text is read.
        name: what to call it.
    """

    model: nn.Module
    config: dict
    data: Texts
    name: str

    def with_tokenizer(self, name: str) -> Bundle:
        """Returns the same with a tokenizer, which exported configurations name as well."""
        config = {**self.config, "tokenizer": {"_name": name}}
        return replace(self, data=replace(self.data, tokenizer=name), config=config)
