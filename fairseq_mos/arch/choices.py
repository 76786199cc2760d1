"""What each side of a search space may choose from, checked and in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from fairseq_mos.arch.architecture import MEMORY_STATES, memory_states
from fairseq_mos.arch.reading import MAX_LAYERS, FieldError, check_attention, check_integer, check_keys, check_list


@dataclass(frozen=True)
class EncoderChoices:
    """The encoder's choices. Each tuple is sorted from large to small, whatever order was given.

    Attributes:
        embed_dim: model widths, one for the whole encoder.
        layers: numbers of layers.
        ffn_dims: feed-forward widths, chosen anew for each layer.
        self_attention_heads: head counts, chosen anew for each layer.

    Raises:
        FieldError: an empty list, a duplicate, or something else than positive integers.
    """

    embed_dim: tuple[int, ...]
    layers: tuple[int, ...]
    ffn_dims: tuple[int, ...]
    self_attention_heads: tuple[int, ...]

    def __post_init__(self) -> None:
        _check(self, "encoder")


@dataclass(frozen=True)
class DecoderChoices:
    """The decoder's choices. Each tuple is sorted from large to small, whatever order was given.

    Attributes:
        embed_dim: model widths, one for the whole decoder.
        layers: numbers of layers.
        ffn_dims: feed-forward widths, chosen anew for each layer.
        self_attention_heads: head counts of self-attention, chosen anew for each layer.
        cross_attention_heads: head counts of encoder-decoder attention, chosen anew for each layer.
        arbitrary_attention: which encoder outputs are attended (-1, 1, 2), chosen anew for each layer.

    Raises:
        FieldError: an empty list, a duplicate, or a value of the wrong kind.
    """

    embed_dim: tuple[int, ...]
    layers: tuple[int, ...]
    ffn_dims: tuple[int, ...]
    self_attention_heads: tuple[int, ...]
    cross_attention_heads: tuple[int, ...]
    arbitrary_attention: tuple[int, ...]

    def __post_init__(self) -> None:
        _check(self, "decoder")


def read_choices(kind: type, data: object, side: str) -> EncoderChoices | DecoderChoices:
    """Builds the choices of one side ("encoder" or "decoder") from plain data.

    Raises:
        FieldError: an unknown or missing key, or a wrong value.
    """
    return kind(**check_keys(data, side, tuple(field.name for field in fields(kind))))


def write_choices(choices: EncoderChoices | DecoderChoices) -> dict:
    """Returns plain data that :func:`read_choices` takes."""
    return {field.name: list(getattr(choices, field.name)) for field in fields(choices)}


def check_combinations(qkv_dim: int | None, encoder: EncoderChoices, decoder: DecoderChoices) -> None:
    """Checks that every combination of choices makes a valid architecture.

    Raises:
        FieldError: heads that do not divide a q/k/v width, or arbitrary attention that reaches further
            back than the shallowest encoder.
    """
    for choices, side, key in (
        (encoder, "encoder", "self_attention_heads"),
        (decoder, "decoder", "self_attention_heads"),
        (decoder, "decoder", "cross_attention_heads"),
    ):
        for width in choices.embed_dim if qkv_dim is None else (qkv_dim,):
            for heads in getattr(choices, key):
                if width % heads:
                    raise FieldError(
                        f"{side}.{key} has {heads}, allowed: head counts that divide the q/k/v width {width}"
                    )
    for value in decoder.arbitrary_attention:
        if memory_states(value) > min(encoder.layers):
            raise FieldError(
                f"decoder.arbitrary_attention has {value}, which needs {memory_states(value)} "
                f"encoder layers, but encoder.layers allows {min(encoder.layers)}"
            )


def _check(choices: EncoderChoices | DecoderChoices, side: str) -> None:
    for field in fields(choices):
        name = f"{side}.{field.name}"
        check: Callable[[object, str], int] = check_integer
        if field.name == "arbitrary_attention":
            check = _check_attention
        elif field.name == "layers":
            check = _check_layers
        values = [
            check(value, f"{name}[{index}]")
            for index, value in enumerate(check_list(getattr(choices, field.name), name))
        ]
        for index, value in enumerate(values):
            if value in values[:index]:
                raise FieldError(f"{name}[{index}] is {value}, a duplicate: list each choice once")
        object.__setattr__(choices, field.name, tuple(sorted(values, reverse=True)))


def _check_attention(value: object, name: str) -> int:
    return check_attention(value, name, MEMORY_STATES)


def _check_layers(value: object, name: str) -> int:
    return check_integer(value, name, MAX_LAYERS)
