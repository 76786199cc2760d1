"""The search space: which architectures exist, how to draw them, and the smallest and largest of them."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from fairseq_mos.arch.architecture import Architecture, Sizes
from fairseq_mos.arch.reading import (
    FieldError,
    check_keys,
    check_list,
    compact_json,
    is_inline,
    listed,
    load_document,
    naming,
    save_document,
    show,
)
from fairseq_mos.arch.schema import DEPTH, FIRST, Schema, Stack, schema_of
from fairseq_mos.arch.shipped import shipped_file, shipped_spaces
from fairseq_mos.errors import UserError


@dataclass(frozen=True)
class Gene:
    """One decision of an architecture.

    Attributes:
        name: such as `encoder.embed_dim` or `decoder.ffn_dims[2]` (layers count from 0).
        choices: the allowed values, from large to small.
    """

    name: str
    choices: tuple[int, ...]


@dataclass(frozen=True)
class SearchSpace:
    """A set of architectures: choices for each stack, and the constants that all of them share.

    Equality and digest depend on the choices alone, not on their order, the name or the description. Each stack and
    each constant of the schema is an attribute: `space.encoder.ffn_dims` (choices from large to small),
    `space.qkv_dim`.

    Attributes:
        name: what messages and architectures call it.
        schema: the shape of its family's networks.
        constants: values of the schema's constants.
        choices: of each of the schema's stacks.
        description: a line or two about the space and where its numbers come from.

    Raises:
        FieldError: choices of which some combination is no valid architecture.
    """

    name: str = field(compare=False)
    schema: Schema = field(repr=False)
    constants: tuple[int | None, ...]
    choices: tuple[Sizes, ...]
    description: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise FieldError(f"name is {show(self.name)}, expected a name")
        if not isinstance(self.description, str):
            raise FieldError(f"description is {show(self.description)}, expected text")
        named = {stack.name: dict(own.values) for stack, own in zip(self.schema.stacks, self.choices)}
        constants = self.schema.named(self.constants)
        self.schema.check_space(named, constants)
        for stack, own in zip(self.schema.stacks, self.choices):
            object.__setattr__(self, stack.name, own)
        for name, value in constants.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        return hash((self.constants, self.choices))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    # Reading and writing.

    def to_dict(self) -> dict:
        """Returns plain data (strings, integers, lists) that :meth:`from_dict` takes."""
        data: dict = {"name": self.name, "description": self.description}
        if self.schema.family != FIRST:
            data["family"] = self.schema.family
        for constant, value in zip(self.schema.constants, self.constants):
            data[constant.name] = constant.write(value)
        for stack, own in zip(self.schema.stacks, self.choices):
            data[stack.name] = {key: list(values) for key, values in own.values if values}
        return data

    @classmethod
    def from_dict(cls, data: object, source: str = "search space") -> SearchSpace:
        """Builds a space from plain data.

        Args:
            data: what :meth:`to_dict` returns; `description` may be left out.
            source: what to call the data in messages, such as the file's name.

        Raises:
            UserError: names source, field, value and what is allowed.
        """
        with naming(source):
            schema = schema_of(data if isinstance(data, Mapping) else {})
            data = check_keys(data, "", ("name", *schema.keys), ("description", "family"))
            return cls(
                name=data["name"],
                schema=schema,
                constants=tuple(constant.check(data[constant.name]) for constant in schema.constants),
                choices=tuple(_read(stack, data[stack.name]) for stack in schema.stacks),
                description=data.get("description", ""),
            )

    @classmethod
    def load(cls, name_or_path_or_inline: str | os.PathLike) -> SearchSpace:
        """Reads a shipped space by its name, a YAML file, or inline JSON (a text that starts with `{`).

        Raises:
            UserError: none of these, or a malformed file, or a wrong value in it.
        """
        text = os.fspath(name_or_path_or_inline)
        if not is_inline(text):
            shipped = shipped_file("spaces", text)
            if shipped is not None:
                return cls.from_dict(*load_document(shipped, "search space"))
            if not os.path.lexists(text.replace("\0", "")):
                names = listed(shipped_spaces())
                raise UserError(f"search space {show(text)}: no such file; the shipped spaces are {names}")
        return cls.from_dict(*load_document(text, "search space"))

    def save(self, path: str | os.PathLike) -> None:
        """Writes a YAML file that :meth:`load` reads, in one step.

        Raises:
            UserError: the file cannot be written.
        """
        save_document(path, self.to_dict(), "Search space of fairseq-mos: what each size may be.")

    def to_json(self) -> str:
        """Returns one line of JSON with sorted keys, which :meth:`load` reads."""
        return compact_json(self.to_dict())

    def digest(self) -> str:
        """Returns 12 hexadecimal digits that are equal exactly for spaces with the same choices."""
        data = self.to_dict()
        del data["name"], data["description"]
        return hashlib.sha256(compact_json(data).encode()).hexdigest()[:12]

    # Genes, size, extremes, sampling.

    def _stacks(self) -> Iterator[tuple[Stack, Sizes, int]]:
        """Yields each stack with its choices and the most layers that it may have."""
        for stack, own in zip(self.schema.stacks, self.choices):
            yield stack, own, own.layers[0]

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """All decisions for all super layers, in a fixed order: stack by stack; widths, depth, layers."""
        genes = []
        for stack, choices, layers in self._stacks():
            for name in stack.single:
                genes.append(Gene(f"{stack.name}.{name}", getattr(choices, name)))
            for trait in stack.each_of(choices):
                allowed = getattr(choices, trait.name)
                genes.extend(Gene(f"{stack.name}.{trait.name}[{layer}]", allowed) for layer in range(layers))
        return tuple(genes)

    def to_genes(self, arch: Architecture) -> tuple[int, ...]:
        """Returns one value for each of :attr:`genes`; inactive layers get the gene's largest choice.

        Raises:
            UserError: the architecture is not of this space.
        """
        self.validate(arch)
        values: list[int] = []
        for (stack, choices, layers), sizes in zip(self._stacks(), arch.stacks):
            values += [getattr(sizes, name) for name in stack.single]
            for trait in stack.each_of(choices):
                values += getattr(sizes, trait.name)
                values += [getattr(choices, trait.name)[0]] * (layers - sizes.layers)
        return tuple(values)

    def from_genes(self, values: Sequence[int]) -> Architecture:
        """Builds the architecture of one value for each of :attr:`genes`; inactive layers' values drop out.

        Raises:
            UserError: the wrong number of values, or one that the space does not allow.
        """
        if len(values) != len(self.genes):
            raise UserError(
                f"genes: {len(values)} values, but search space '{self.name}' has {len(self.genes)} genes"
            )
        for gene, value in zip(self.genes, values):
            self._check_value("genes", gene.name, value, gene.choices, None)
        rest = iter(values)
        found = []
        for stack, choices, layers in self._stacks():
            sizes: dict[str, Any] = {name: next(rest) for name in stack.single}
            sizes |= dict.fromkeys(stack.optional, ())
            for trait in stack.each_of(choices):
                sizes[trait.name] = tuple(next(rest) for _ in range(layers))[: sizes[DEPTH]]
            found.append(sizes)
        return Architecture.of_values(self.schema, self.constants, found, self.name)

    def size(self) -> int:
        """Returns the exact number of distinct architectures: what inactive layers choose does not count."""
        total = 1
        for stack, choices, _ in self._stacks():
            per_layer = prod(len(getattr(choices, trait.name)) for trait in stack.each_of(choices))
            total *= prod(len(getattr(choices, trait.name)) for trait in stack.once)
            total *= sum(per_layer**layers for layers in choices.layers)
        return total

    def largest(self) -> Architecture:
        """Returns the architecture with most FLOPs at 30/30 tokens; ties go to parameters, then heads.

        No search is needed: with all other genes fixed, FLOPs grow strictly with either width, either
        depth, each active layer's FFN and each decoder layer's number of memory states (which is ordered
        as the arbitrary-attention value is: -1, 1, 2). Parameters grow with the same genes, except that
        memory states leave them alone. Heads change neither, and so only break ties. Hence the largest
        takes every gene's largest value, and the smallest every gene's smallest.
        """
        return self.from_genes([gene.choices[0] for gene in self.genes])

    def smallest(self) -> Architecture:
        """Returns the architecture with fewest FLOPs at 30/30 tokens; ties go to parameters, then heads.

        See :meth:`largest` for why it takes every gene's smallest value.
        """
        return self.from_genes([gene.choices[-1] for gene in self.genes])

    def sample(self, rng: random.Random) -> Architecture:
        """Draws every gene uniformly, as HAT does, and drops those of inactive layers.

        So each depth is equally likely, although there are far more deep architectures than shallow ones.

        Args:
            rng: the only source of randomness.
        """
        return self.from_genes(self.sample_genes(rng))

    def sample_genes(self, rng: random.Random) -> tuple:
        """Draws every gene uniformly, those of inactive layers too: the number of draws is always the same."""
        return tuple(rng.choice(gene.choices) for gene in self.genes)

    # Membership.

    def validate(self, arch: Architecture, source: str = "architecture") -> None:
        """Checks that the architecture is one of this space.

        Args:
            arch: the architecture.
            source: what to call it in messages, such as its file's name.

        Raises:
            UserError: names source, field, value, what the space allows, and both spaces if the
                architecture was made for another one.
        """
        if arch.schema.family != self.schema.family:
            families = (arch.schema.family, (self.schema.family,))
            self._check_value(source, "family", *families, arch.space)
        for constant, *values in zip(self.schema.constants, arch.constants, self.constants):
            value, wanted = map(constant.write, values)
            self._check_value(source, constant.name, value, (wanted,), arch.space)
        for (stack, choices, _), sizes in zip(self._stacks(), arch.stacks):
            for key in stack.single:
                name = f"{stack.name}.{key}"
                self._check_value(source, name, getattr(sizes, key), getattr(choices, key), arch.space)
            for trait in stack.each:
                allowed = getattr(choices, trait.name)
                if bool(allowed) != bool(getattr(sizes, trait.name)):
                    found = ("is missing", "chooses it") if allowed else ("is given", "has none")
                    name = f"{stack.name}.{trait.name}"
                    raise UserError(f"{source}: {name} {found[0]}, but search space '{self.name}' {found[1]}")
                for index, value in enumerate(getattr(sizes, trait.name)):
                    name = f"{stack.name}.{trait.name}[{index}]"
                    self._check_value(source, name, value, allowed, arch.space)

    def _check_value(
        self, source: str, name: str, value: object, allowed: tuple, made_for: str | None
    ) -> None:
        if value in allowed:
            return
        other = f" (it was made for search space '{made_for}')" if made_for not in (None, self.name) else ""
        raise UserError(
            f"{source}: {name} is {value}, but search space '{self.name}' allows {listed(allowed)}{other}"
        )


def _read(stack: Stack, data: object) -> Sizes:
    """Returns the checked choices of one stack of a file, each from large to small."""
    data = check_keys(data, stack.name, stack.required, stack.optional)
    found = []
    for key in stack.keys:
        if key not in data:
            found.append((key, ()))
            continue
        name, trait = f"{stack.name}.{key}", stack.trait(key)
        values = [trait.check(value, f"{name}[{i}]") for i, value in enumerate(check_list(data[key], name))]
        for index, value in enumerate(values):
            if value in values[:index]:
                raise FieldError(f"{name}[{index}] is {value}, a duplicate: list each choice once")
        found.append((key, tuple(sorted(values, reverse=True))))
    return Sizes(tuple(found))
