"""A dense model with all that it needs to run: what the exporters and the hub work on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.families import FAMILIES
from fairseq_mos.families.base import Family
from fairseq_mos.families.texts import Texts
from fairseq_mos.modules.block import Block


@dataclass(frozen=True)
class Bundle:
    """A dense model and its surroundings.

    Attributes:
        model: a subnet, or a model of fairseq's own, in eval mode.
        config: fairseq's whole configuration, plain; its task and model are the dense model's.
        data: the files around the weights, and how text is read.
        name: what to call it.
    """

    model: nn.Module
    config: dict
    data: Texts
    name: str

    @property
    def family(self) -> Family:
        """The family of the model."""
        return FAMILIES[self.data.FAMILY]

    def subnet(self, form: str) -> Architecture:
        """Returns the architecture of a subnet, for a format that holds nothing else.

        Raises:
            UserError: the model is another one.
        """
        if not isinstance(self.model, Block):
            name = self.family.parts()["model"][0]
            raise UserError(f"--format {form} is for {name}, {self.name} is another model")
        return self.model.architecture

    def require(self, family: str, lacking: str) -> None:
        """Checks the family, for what is there for one alone.

        Args:
            family: its name.
            lacking: what models of other families cannot do.

        Raises:
            UserError: the model is of another one.
        """
        if family != self.data.FAMILY:
            raise UserError(f"{self.name} is of family {self.data.FAMILY}, which {lacking}")

    def with_tokenizer(self, name: str) -> Bundle:
        """Returns the same with a tokenizer, which exported configurations name as well."""
        config = {**self.config, "tokenizer": {"_name": name}}
        return replace(self, data=replace(self.data, tokenizer=name), config=config)
