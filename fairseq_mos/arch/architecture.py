"""One point of a search space: the sizes of one encoder-decoder network.

An architecture stores its active layers only, so that two objects are equal exactly when they describe
the same network: this is the canonical form that caches, digests and checkpoints rely on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairseq_mos.arch.reading import (
    MAX_LAYERS,
    FieldError,
    check_attention,
    check_integer,
    check_keys,
    check_list,
    check_qkv_dim,
    compact_json,
    load_document,
    naming,
    save_document,
    show,
)

MEMORY_STATES: Mapping[int, int] = {-1: 1, 1: 2, 2: 3}
"""Arbitrary-attention value -> how many of the encoder's last layers a decoder layer attends (HAT)."""


def memory_states(arbitrary_attention: int) -> int:
    """Returns how many encoder layers' outputs are attended: -1 is the last one, 1 two, 2 three."""
    return MEMORY_STATES[arbitrary_attention]


@dataclass(frozen=True)
class EncoderArchitecture:
    """The encoder's sizes. The lists have one entry a layer, first layer first.

    Attributes:
        embed_dim: the model width, one value for all layers.
        ffn_dims: hidden width of each layer's feed-forward network.
        self_attention_heads: head count of each layer.

    Raises:
        FieldError: a value that no network can have.
    """

    embed_dim: int
    ffn_dims: tuple[int, ...]
    self_attention_heads: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_side(self, "encoder", ("ffn_dims", "self_attention_heads"))

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.ffn_dims)


@dataclass(frozen=True)
class DecoderArchitecture:
    """The decoder's sizes. The lists have one entry a layer, first layer first.

    Attributes:
        embed_dim: the model width, one value for all layers.
        ffn_dims: hidden width of each layer's feed-forward network.
        self_attention_heads: head count of each layer's self-attention.
        cross_attention_heads: head count of each layer's encoder-decoder attention.
        arbitrary_attention: which encoder outputs each layer attends: a key of :data:`MEMORY_STATES`.

    Raises:
        FieldError: a value that no network can have.
    """

    embed_dim: int
    ffn_dims: tuple[int, ...]
    self_attention_heads: tuple[int, ...]
    cross_attention_heads: tuple[int, ...]
    arbitrary_attention: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_side(self, "decoder", ("ffn_dims", "self_attention_heads", "cross_attention_heads"))
        values = check_list(self.arbitrary_attention, "decoder.arbitrary_attention")
        for index, value in enumerate(values):
            check_attention(value, f"decoder.arbitrary_attention[{index}]", MEMORY_STATES)
        _check_length(values, "decoder.arbitrary_attention", self.layers)
        object.__setattr__(self, "arbitrary_attention", values)

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.ffn_dims)


@dataclass(frozen=True)
class Architecture:
    """An encoder-decoder architecture, checked for consistency when it is made.

    Attributes:
        encoder: the encoder's sizes.
        decoder: the decoder's sizes.
        qkv_dim: total width of queries, keys and values; None: it follows the embed width of the side
            that asks (the decoder's in cross-attention).
        space: name of the search space it was made for; informational, no part of equality or digest.

    Raises:
        FieldError: a head count that does not divide the q/k/v width, or arbitrary attention that reaches
            further back than the encoder has layers.
    """

    encoder: EncoderArchitecture
    decoder: DecoderArchitecture
    qkv_dim: int | None
    space: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.qkv_dim is not None:
            check_integer(self.qkv_dim, "qkv_dim")
        for side, name, width in (
            (self.encoder, "encoder.self_attention_heads", self.encoder_qkv_dim()),
            (self.decoder, "decoder.self_attention_heads", self.decoder_qkv_dim()),
            (self.decoder, "decoder.cross_attention_heads", self.decoder_qkv_dim()),
        ):
            for index, heads in enumerate(getattr(side, name.split(".")[1])):
                if width % heads:
                    raise FieldError(
                        f"{name}[{index}] is {heads}, "
                        f"allowed: a head count that divides the q/k/v width {width}"
                    )
        for index, value in enumerate(self.decoder.arbitrary_attention):
            if memory_states(value) > self.encoder.layers:
                raise FieldError(
                    f"decoder.arbitrary_attention[{index}] is {value}, which needs {memory_states(value)} "
                    f"encoder layers, but encoder.layers is {self.encoder.layers}"
                )

    def encoder_qkv_dim(self) -> int:
        """Returns the total q/k/v width of the encoder's self-attention."""
        return self.encoder.embed_dim if self.qkv_dim is None else self.qkv_dim

    def decoder_qkv_dim(self) -> int:
        """Returns the total q/k/v width of the decoder's self- and cross-attention."""
        return self.decoder.embed_dim if self.qkv_dim is None else self.qkv_dim

    def to_dict(self) -> dict:
        """Returns plain data (strings, integers, lists) that :meth:`from_dict` takes."""
        data: dict = {} if self.space is None else {"space": self.space}
        data["qkv_dim"] = "embed" if self.qkv_dim is None else self.qkv_dim
        data["encoder"] = _side_to_dict(self.encoder, _ENCODER_LISTS)
        data["decoder"] = _side_to_dict(self.decoder, _DECODER_LISTS)
        return data

    @classmethod
    def from_dict(cls, data: object, source: str = "architecture") -> Architecture:
        """Builds an architecture from plain data.

        Args:
            data: what :meth:`to_dict` returns: `encoder` {embed_dim, layers, ffn_dims,
                self_attention_heads}, `decoder` {the same, cross_attention_heads, arbitrary_attention},
                `qkv_dim` (an integer or "embed") and optionally `space`.
            source: what to call the data in messages, such as the file's name.

        Raises:
            UserError: names source, field, value and what is allowed.
        """
        with naming(source):
            data = check_keys(data, "", ("qkv_dim", "encoder", "decoder"), ("space",))
            space = data.get("space")
            if space is not None and (not isinstance(space, str) or not space):
                raise FieldError(f"space is {show(space)}, expected the name of a search space")
            return cls(
                encoder=EncoderArchitecture(**_side_from_dict(data["encoder"], "encoder", _ENCODER_LISTS)),
                decoder=DecoderArchitecture(**_side_from_dict(data["decoder"], "decoder", _DECODER_LISTS)),
                qkv_dim=check_qkv_dim(data["qkv_dim"]),
                space=space,
            )

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


_ENCODER_LISTS = ("ffn_dims", "self_attention_heads")
_DECODER_LISTS = ("ffn_dims", "self_attention_heads", "cross_attention_heads", "arbitrary_attention")


def _check_side(side: EncoderArchitecture | DecoderArchitecture, name: str, lists: tuple[str, ...]) -> None:
    check_integer(side.embed_dim, f"{name}.embed_dim")
    for key in lists:
        values = check_list(getattr(side, key), f"{name}.{key}")
        for index, value in enumerate(values):
            check_integer(value, f"{name}.{key}[{index}]")
        _check_length(values, f"{name}.{key}", side.layers)
        # Lists are welcome from callers, but only tuples can be hashed.
        object.__setattr__(side, key, values)


def _check_length(values: tuple, name: str, layers: int) -> None:
    if len(values) != layers:
        raise FieldError(f"{name} has {len(values)} entries, expected {layers}: one for each layer")


def _side_to_dict(side: EncoderArchitecture | DecoderArchitecture, lists: tuple[str, ...]) -> dict:
    data: dict = {"embed_dim": side.embed_dim, "layers": side.layers}
    data.update((key, list(getattr(side, key))) for key in lists)
    return data


def _side_from_dict(data: object, name: str, lists: tuple[str, ...]) -> dict:
    data = check_keys(data, name, ("embed_dim", "layers") + lists)
    layers = check_integer(data["layers"], f"{name}.layers", MAX_LAYERS)
    for key in lists:
        _check_length(check_list(data[key], f"{name}.{key}"), f"{name}.{key}", layers)
    return {"embed_dim": data["embed_dim"], **{key: data[key] for key in lists}}
