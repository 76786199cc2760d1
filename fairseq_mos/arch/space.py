"""The search space: which architectures exist, how to draw them, and the smallest and largest of them."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from fairseq_mos.arch.architecture import Architecture, DecoderArchitecture, EncoderArchitecture
from fairseq_mos.arch.choices import (
    DecoderChoices,
    EncoderChoices,
    check_combinations,
    read_choices,
    write_choices,
)
from fairseq_mos.arch.reading import (
    FieldError,
    check_keys,
    check_qkv_dim,
    compact_json,
    is_inline,
    listed,
    load_document,
    naming,
    save_document,
    show,
)
from fairseq_mos.arch.shipped import shipped_file, shipped_spaces
from fairseq_mos.errors import UserError

_ENCODER_GENES = ("ffn_dims", "self_attention_heads")
_DECODER_GENES = ("ffn_dims", "self_attention_heads", "cross_attention_heads", "arbitrary_attention")


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
    """A set of architectures: choices for each side, and the q/k/v width.

    Equality and digest depend on the choices alone, not on their order, the name or the description.

    Attributes:
        name: what messages and architectures call it.
        qkv_dim: total width of queries, keys and values; None: it follows the embed width.
        encoder: the encoder's choices.
        decoder: the decoder's choices.
        description: a line or two about the space and where its numbers come from.

    Raises:
        FieldError: choices of which some combination is no valid architecture.
    """

    name: str = field(compare=False)
    qkv_dim: int | None
    encoder: EncoderChoices
    decoder: DecoderChoices
    description: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise FieldError(f"name is {show(self.name)}, expected a name")
        if not isinstance(self.description, str):
            raise FieldError(f"description is {show(self.description)}, expected text")
        check_qkv_dim("embed" if self.qkv_dim is None else self.qkv_dim)
        check_combinations(self.qkv_dim, self.encoder, self.decoder)

    # Reading and writing.

    def to_dict(self) -> dict:
        """Returns plain data (strings, integers, lists) that :meth:`from_dict` takes."""
        return {
            "name": self.name,
            "description": self.description,
            "qkv_dim": "embed" if self.qkv_dim is None else self.qkv_dim,
            "encoder": write_choices(self.encoder),
            "decoder": write_choices(self.decoder),
        }

    @classmethod
    def from_dict(cls, data: object, source: str = "search space") -> SearchSpace:
        """Builds a space from plain data: the keys are the attributes, `description` may be left out.

        Args:
            data: what :meth:`to_dict` returns; `qkv_dim` is an integer or "embed".
            source: what to call the data in messages, such as the file's name.

        Raises:
            UserError: names source, field, value and what is allowed.
        """
        with naming(source):
            data = check_keys(data, "", ("name", "qkv_dim", "encoder", "decoder"), ("description",))
            return cls(
                name=data["name"],
                qkv_dim=check_qkv_dim(data["qkv_dim"]),
                encoder=read_choices(EncoderChoices, data["encoder"], "encoder"),
                decoder=read_choices(DecoderChoices, data["decoder"], "decoder"),
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

    # Super sizes: what a supernet of this space has to hold.

    @property
    def max_encoder_embed_dim(self) -> int:
        """The widest encoder."""
        return self.encoder.embed_dim[0]

    @property
    def max_decoder_embed_dim(self) -> int:
        """The widest decoder."""
        return self.decoder.embed_dim[0]

    @property
    def max_encoder_ffn_dim(self) -> int:
        """The widest feed-forward network of an encoder layer."""
        return self.encoder.ffn_dims[0]

    @property
    def max_decoder_ffn_dim(self) -> int:
        """The widest feed-forward network of a decoder layer."""
        return self.decoder.ffn_dims[0]

    @property
    def max_encoder_layers(self) -> int:
        """The deepest encoder."""
        return self.encoder.layers[0]

    @property
    def max_decoder_layers(self) -> int:
        """The deepest decoder."""
        return self.decoder.layers[0]

    @property
    def super_encoder_layers(self) -> int:
        """The encoder layers that a supernet has: those of the deepest encoder."""
        return self.max_encoder_layers

    @property
    def super_decoder_layers(self) -> int:
        """The decoder layers that a supernet has: those of the deepest decoder."""
        return self.max_decoder_layers

    # Genes, size, extremes, sampling.

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """All decisions for all super layers, in a fixed order: encoder, decoder; widths, depths, layers."""
        genes = []
        for side, choices, layers, keys in (
            ("encoder", self.encoder, self.super_encoder_layers, _ENCODER_GENES),
            ("decoder", self.decoder, self.super_decoder_layers, _DECODER_GENES),
        ):
            genes.append(Gene(f"{side}.embed_dim", choices.embed_dim))
            genes.append(Gene(f"{side}.layers", choices.layers))
            for key in keys:
                genes.extend(Gene(f"{side}.{key}[{layer}]", getattr(choices, key)) for layer in range(layers))
        return tuple(genes)

    def to_genes(self, arch: Architecture) -> tuple[int, ...]:
        """Returns one value for each of :attr:`genes`; inactive layers get the gene's largest choice.

        Raises:
            UserError: the architecture is not of this space.
        """
        self.validate(arch)
        values: list[int] = []
        for side, choices, layers, keys in (
            (arch.encoder, self.encoder, self.super_encoder_layers, _ENCODER_GENES),
            (arch.decoder, self.decoder, self.super_decoder_layers, _DECODER_GENES),
        ):
            values += [side.embed_dim, side.layers]
            for key in keys:
                values += getattr(side, key)
                values += [getattr(choices, key)[0]] * (layers - side.layers)
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
        sides = []
        for layers, keys in (
            (self.super_encoder_layers, _ENCODER_GENES),
            (self.super_decoder_layers, _DECODER_GENES),
        ):
            embed_dim, active = next(rest), next(rest)
            lists = {key: tuple(next(rest) for _ in range(layers))[:active] for key in keys}
            sides.append({"embed_dim": embed_dim, **lists})
        return Architecture(
            EncoderArchitecture(**sides[0]), DecoderArchitecture(**sides[1]), self.qkv_dim, self.name
        )

    def size(self) -> int:
        """Returns the exact number of distinct architectures: what inactive layers choose does not count."""

        def count(choices: EncoderChoices | DecoderChoices, keys: tuple[str, ...]) -> int:
            per_layer = prod(len(getattr(choices, key)) for key in keys)
            return len(choices.embed_dim) * sum(per_layer**layers for layers in choices.layers)

        return count(self.encoder, _ENCODER_GENES) * count(self.decoder, _DECODER_GENES)

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
        The number of draws does not depend on the outcome.

        Args:
            rng: the only source of randomness.
        """
        return self.from_genes([rng.choice(gene.choices) for gene in self.genes])

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
        if arch.qkv_dim != self.qkv_dim:
            value, wanted = ("embed" if width is None else width for width in (arch.qkv_dim, self.qkv_dim))
            self._check_value(source, "qkv_dim", value, (wanted,), arch.space)
        for name, side, choices, keys in (
            ("encoder", arch.encoder, self.encoder, _ENCODER_GENES),
            ("decoder", arch.decoder, self.decoder, _DECODER_GENES),
        ):
            self._check_value(source, f"{name}.embed_dim", side.embed_dim, choices.embed_dim, arch.space)
            self._check_value(source, f"{name}.layers", side.layers, choices.layers, arch.space)
            for key in keys:
                allowed = getattr(choices, key)
                for index, value in enumerate(getattr(side, key)):
                    self._check_value(source, f"{name}.{key}[{index}]", value, allowed, arch.space)

    def _check_value(
        self, source: str, name: str, value: object, allowed: tuple, made_for: str | None
    ) -> None:
        if value in allowed:
            return
        other = f" (it was made for search space '{made_for}')" if made_for not in (None, self.name) else ""
        raise UserError(
            f"{source}: {name} is {value}, but search space '{self.name}' allows {listed(allowed)}{other}"
        )
