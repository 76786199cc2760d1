"""The shape of a family's networks: which sizes an architecture chooses, and what they may be.

A schema is written down once a family; architectures, search spaces, encodings, files and digests follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from fairseq_mos.arch.reading import MAX_LAYERS, MAX_SIZE, FieldError, check_integer, listed
from fairseq_mos.documents import show

DEPTH = "layers"
"""The gene of every stack that says how many layers are active."""

FIRST = "translation"
"""The family of files that name none: those of the versions that had no other."""


@dataclass(frozen=True)
class Trait:
    """A kind of size that an architecture chooses.

    Attributes:
        name: its key in files, such as `ffn_dims`.
        levels: value -> the quantity that it stands for, from few to many, where values are no quantities
            themselves; encodings and predictors read the quantity.
        fraction: may be a fraction, such as the ratio of two widths.
        part: the part of a layer (`ffn`, `self_attn`) whose inner size it is, for hard gates.
        optional: of those chosen for each layer: a search space, and so its architectures, may have none of it.
    """

    name: str
    levels: Mapping[int, int] | None = None
    fraction: bool = False
    part: str = ""
    optional: bool = False

    def quantity(self, value):
        """Returns what a value stands for."""
        return value if self.levels is None else self.levels[value]

    def check(self, value: object, place: str):
        """Returns `value` if it is one of this kind.

        Raises:
            FieldError: otherwise; names `place`.
        """
        if self.levels is not None:
            if type(value) is not int or value not in self.levels:
                raise FieldError(f"{place} is {show(value)}, allowed: {listed(self.levels)}")
            return value
        if self.fraction and type(value) is float and 0 < value <= MAX_SIZE:
            # Equal architectures have equal digests.
            return int(value) if value.is_integer() else value
        return check_integer(value, place, MAX_LAYERS if self.name == DEPTH else MAX_SIZE)


@dataclass(frozen=True)
class Derived:
    """A size that follows from others of its stack, such as a feed-forward width from a ratio.

    Attributes:
        name: its name.
        inputs: names of one-a-stack traits, or of constants of the schema.
        compute: their values -> the size.
    """

    name: str
    inputs: tuple[str, ...]
    compute: Callable[..., int]


@dataclass(frozen=True)
class Stack:
    """A stack of layers.

    Attributes:
        name: its key in files.
        once: what is chosen once for the whole stack.
        each: what is chosen anew for each layer.
        derived: what follows from them.
    """

    name: str
    once: tuple[Trait, ...]
    each: tuple[Trait, ...] = ()
    derived: tuple[Derived, ...] = ()

    @property
    def single(self) -> tuple[str, ...]:
        """The keys of a file that have one value: what is chosen once, and the depth."""
        return (*(trait.name for trait in self.once), DEPTH)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a file, in order."""
        return (*self.single, *(trait.name for trait in self.each))

    @property
    def required(self) -> tuple[str, ...]:
        """Those that a file must have."""
        return tuple(key for key in self.keys if key not in self.optional)

    @property
    def optional(self) -> tuple[str, ...]:
        """Those that may be left out."""
        return tuple(trait.name for trait in self.each if trait.optional)

    def each_of(self, sizes: object) -> tuple[Trait, ...]:
        """Returns what is chosen for each layer in a search space, or in an architecture: not what it leaves out."""
        return tuple(trait for trait in self.each if getattr(sizes, trait.name))

    def trait(self, name: str) -> Trait:
        """Returns the trait of that name; the depth is one, too."""
        return next((trait for trait in (*self.once, *self.each) if trait.name == name), Trait(name))


@dataclass(frozen=True)
class Constant:
    """A size that a whole search space has in common.

    Attributes:
        name: its key in files.
        follows: the word that stands for None: the size follows another one.
        meaning: of that word.
    """

    name: str
    follows: str
    meaning: str

    def check(self, value: object) -> int | None:
        """Returns the value of a file: a positive integer, or None for the word.

        Raises:
            FieldError: otherwise.
        """
        if value == self.follows:
            return None
        if type(value) is not int or not 1 <= value <= MAX_SIZE:
            raise FieldError(
                f"{self.name} is {show(value)}, expected a positive integer, or {self.follows} ({self.meaning})"
            )
        return value

    def write(self, value: int | None) -> int | str:
        """Returns what :meth:`check` takes."""
        return self.follows if value is None else value


@dataclass(frozen=True)
class Rule:
    """What two sizes must have in common.

    Attributes:
        trait: what is complained about, such as `encoder.self_attention_heads`.
        other: what it must fit, such as `encoder.qkv_dim`.
        complaint: (value, other value) -> None, or what to say of an architecture and of a search space.
    """

    trait: str
    other: str
    complaint: Callable[[int, int], tuple[str, str] | None]


@dataclass(frozen=True)
class Schema:
    """The shape of a family's networks.

    Attributes:
        family: name of the family.
        stacks: its stacks, in the order of files and genes.
        constants: sizes that a search space fixes.
        rules: what combinations are allowed.
    """

    family: str
    stacks: tuple[Stack, ...]
    constants: tuple[Constant, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of an architecture's file, in order."""
        return (*(constant.name for constant in self.constants), *(stack.name for stack in self.stacks))

    def named(self, constants: Sequence[int | None]) -> dict[str, int | None]:
        """Returns name -> value of the constants."""
        return {constant.name: value for constant, value in zip(self.constants, constants)}

    def check_architecture(self, stacks: Mapping[str, Mapping]) -> None:
        """Checks the rules.

        Args:
            stacks: name of a stack -> its sizes by name, the derived ones too.

        Raises:
            FieldError: names the size.
        """
        for rule in self.rules:
            (stack, name), (other_stack, other) = rule.trait.split("."), rule.other.split(".")
            values = stacks[stack][name]
            for index, value in enumerate(values if isinstance(values, tuple) else (values,)):
                complaint = rule.complaint(value, stacks[other_stack][other])
                if complaint is not None:
                    place = f"[{index}]" if isinstance(values, tuple) else ""
                    raise FieldError(f"{rule.trait}{place} is {value}{complaint[0]}")

    def check_space(self, choices: Mapping[str, Mapping[str, tuple]], constants: Mapping[str, int | None]) -> None:
        """Checks the rules for every combination of choices.

        Args:
            choices: name of a stack -> choices of each of its sizes.
            constants: those of the space.

        Raises:
            FieldError: names the choices.
        """
        for rule in self.rules:
            (stack, name), (other_stack, other) = rule.trait.split("."), rule.other.split(".")
            for against in self._all_of(other_stack, other, choices, constants):
                for value in choices[stack][name]:
                    complaint = rule.complaint(value, against)
                    if complaint is not None:
                        raise FieldError(f"{rule.trait} has {value}{complaint[1]}")

    def _all_of(self, stack: str, name: str, choices: Mapping, constants: Mapping) -> list[int]:
        (shape,) = (one for one in self.stacks if one.name == stack)
        for derived in shape.derived:
            if derived.name == name:
                inputs = [choices[stack].get(key, (constants.get(key),)) for key in derived.inputs]
                return [derived.compute(*values) for values in product(*inputs)]
        return list(choices[stack][name])


SCHEMAS: dict[str, Schema] = {}
"""Name of a family -> its schema; see :mod:`fairseq_mos.families`."""


def schema_of(data: Mapping) -> Schema:
    """Returns the schema that a file names.

    Raises:
        FieldError: an unknown family.
    """
    name = data.get("family", FIRST)
    if not isinstance(name, str) or name not in SCHEMAS:
        raise FieldError(f"family is {show(name)}, allowed: {listed(SCHEMAS)}")
    return SCHEMAS[name]
