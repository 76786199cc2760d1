"""One point of a search space: the sizes of one network.

An architecture stores its active layers only, so that two objects are equal exactly when they describe
the same network: this is the canonical form that caches, digests and checkpoints rely on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fairseq_mos.arch.reading import (
    FieldError,
    check_keys,
    check_list,
    compact_json,
    load_document,
    naming,
    save_document,
    show,
)
from fairseq_mos.arch.schema import DEPTH, FIRST, Schema, Stack, schema_of


@dataclass(frozen=True)
class Sizes:
    """The sizes of one stack, each an attribute: `ffn_dims` (one entry a layer), `embed_dim`, `layers`.

    Attributes:
        values: name and value of each, those that follow from others at the end.
    """

    values: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        for name, value in self.values:
            object.__setattr__(self, name, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Architecture:
    """An architecture, checked for consistency when it is made; see :meth:`from_dict`.

    Each stack and each constant of the schema is an attribute: `arch.encoder.ffn_dims`, `arch.qkv_dim`.

    Attributes:
        schema: the shape of its family's networks.
        constants: values of the schema's constants.
        stacks: sizes of the schema's stacks.
        space: name of the search space it was made for; informational, no part of equality or digest.

    Raises:
        FieldError: a combination of sizes that breaks a rule of the schema.
    """

    schema: Schema = field(repr=False)
    constants: tuple[int | None, ...]
    stacks: tuple[Sizes, ...]
    space: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for stack, sizes in zip(self.schema.stacks, self.stacks):
            object.__setattr__(self, stack.name, sizes)
        for name, value in self.schema.named(self.constants).items():
            object.__setattr__(self, name, value)
        self.schema.check_architecture({s.name: dict(own.values) for s, own in zip(self.schema.stacks, self.stacks)})

    def __hash__(self) -> int:
        return hash((self.constants, self.stacks))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def of_values(
        cls, schema: Schema, constants: tuple[int | None, ...], stacks: list[Mapping], space: str | None
    ) -> Architecture:
        """Builds an architecture from each stack's values by key, which are known to be sizes.

        Raises:
            FieldError: a combination that breaks a rule of the schema.
        """
        named = schema.named(constants)
        return cls(schema, constants, tuple(_sizes(s, own, named) for s, own in zip(schema.stacks, stacks)), space)

    def to_dict(self) -> dict:
        """Returns plain data (strings, integers, lists) that :meth:`from_dict` takes."""
        data: dict = {} if self.space is None else {"space": self.space}
        if self.schema.family != FIRST:
            data["family"] = self.schema.family
        for constant, value in zip(self.schema.constants, self.constants):
            data[constant.name] = constant.write(value)
        for stack, sizes in zip(self.schema.stacks, self.stacks):
            own = {key: getattr(sizes, key) for key in stack.keys if getattr(sizes, key) != ()}
            data[stack.name] = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
        return data

    @classmethod
    def from_dict(cls, data: object, source: str = "architecture") -> Architecture:
        """Builds an architecture from plain data.

        Args:
            data: what :meth:`to_dict` returns. Of a translation model: `encoder` {embed_dim, layers, ffn_dims,
                self_attention_heads}, `decoder` {the same, cross_attention_heads, arbitrary_attention},
                `qkv_dim` (an integer or "embed") and optionally `space`.
            source: what to call the data in messages, such as the file's name.

        Raises:
            UserError: names source, field, value and what is allowed.
        """
        with naming(source):
            schema = schema_of(data if isinstance(data, Mapping) else {})
            data = check_keys(data, "", schema.keys, ("space", "family"))
            space = data.get("space")
            if space is not None and (not isinstance(space, str) or not space):
                raise FieldError(f"space is {show(space)}, expected the name of a search space")
            stacks = [_read(stack, data[stack.name]) for stack in schema.stacks]
            constants = tuple(constant.check(data[constant.name]) for constant in schema.constants)
            return cls.of_values(schema, constants, stacks, space)

    @classmethod
    def load(cls, path_or_inline: str | os.PathLike) -> Architecture:
        """Reads a YAML file, or inline JSON if the text starts with `{`.

        Raises:
            UserError: a missing, empty or malformed file, or a wrong value in it.
        """
        return cls.from_dict(*load_document(path_or_inline, "architecture"))

    def save(self, path: str | os.PathLike) -> None:
        """Writes a YAML file that :meth:`load` reads, in one step.

        Raises:
            UserError: the file cannot be written.
        """
        header = f"Architecture {self.digest()} of fairseq-mos; the lists have one entry a layer."
        save_document(path, self.to_dict(), header)

    def to_json(self) -> str:
        """Returns one line of JSON with sorted keys, which :meth:`load` reads."""
        return compact_json(self.to_dict())

    def digest(self) -> str:
        """Returns 12 hexadecimal digits that are equal exactly for equal architectures."""
        data = self.to_dict()
        data.pop("space", None)
        return hashlib.sha256(compact_json(data).encode()).hexdigest()[:12]


def _sizes(stack: Stack, values: Mapping, constants: Mapping[str, int | None]) -> Sizes:
    derived = [(one.name, one.compute(*(values.get(k, constants.get(k)) for k in one.inputs))) for one in stack.derived]
    return Sizes((*((key, values[key]) for key in stack.keys), *derived))


def _read(stack: Stack, data: object) -> dict:
    """Returns the checked values of one stack of a file."""
    data = check_keys(data, stack.name, stack.required, stack.optional)
    layers = stack.trait(DEPTH).check(data[DEPTH], f"{stack.name}.{DEPTH}")
    found: dict = {DEPTH: layers}
    for trait in stack.each:
        place = f"{stack.name}.{trait.name}"
        if trait.name not in data:
            found[trait.name] = ()
            continue
        values = check_list(data[trait.name], place)
        if len(values) != layers:
            raise FieldError(f"{place} has {len(values)} entries, expected {layers}: one for each layer")
        found[trait.name] = tuple(trait.check(value, f"{place}[{index}]") for index, value in enumerate(values))
    for trait in stack.once:
        found[trait.name] = trait.check(data[trait.name], f"{stack.name}.{trait.name}")
    return found
