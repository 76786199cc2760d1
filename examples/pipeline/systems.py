"""The systems that are compared: their checkpoints, sizes, valid losses and translations."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import PipelineError

SUBNETS = ("largest", "smallest", "found")


@dataclass(frozen=True)
class Size:
    """What a system costs; FLOPs are those of one teacher-forced pass of 30 source and 30 target tokens."""

    parameters: int
    parameters_no_embed: int
    flops: int


def count_parameters(tensors: dict) -> tuple[int, int]:
    """Counts the parameters in the state of a dense translation model.

    Embedding tables and the output layer count once when they are equal, as tied ones are.

    Args:
        tensors: name -> tensor, as in a checkpoint of `transformer` or `mos_subnet`.

    Returns:
        All parameters, and those without embeddings and output layer.
    """
    tables, others = [], 0
    for name, tensor in tensors.items():
        last = name.split(".")[-1]
        if last in ("version", "_float_tensor", "num_updates"):
            continue
        if name.split(".")[-2:-1] and name.split(".")[-2] in ("embed_tokens", "output_projection"):
            if not any(table.shape == tensor.shape and bool((table == tensor).all()) for table in tables):
                tables.append(tensor)
        else:
            others += tensor.numel()
    return others + sum(table.numel() for table in tables), others


def measure(checkpoint: Path, architecture) -> Size:
    """Counts a checkpoint's parameters and its architecture's FLOPs.

    Args:
        checkpoint: a dense model.
        architecture: the :class:`fairseq_mos.arch.Architecture` that it has the sizes of.
    """
    from fairseq_mos.families.translation.costs import flops
    from fairseq_mos.models.loading import load_state

    return Size(*count_parameters(load_state(str(checkpoint))["model"]), flops(architecture))


def generate_arguments(
    data: Path, checkpoint: Path, beam: int, max_tokens: int, architecture: Path | None = None
) -> list[str]:
    """Returns the arguments of fairseq-generate on the test set.

    Args:
        data: binarised data.
        checkpoint: a dense model; with `architecture` a supernet.
        beam: beam size.
        max_tokens: tokens per batch.
        architecture: YAML file of the architecture to pin.
    """
    task = ["--task", "translation"]
    if architecture is not None:
        task = ["--task", "supernet_translation", "--architecture", str(architecture)]
    return [
        str(data),
        *("--user-dir", "fairseq_mos"),
        *task,
        *("--path", str(checkpoint), "--gen-subset", "test"),
        *("--beam", str(beam), "--max-tokens", str(max_tokens), "--remove-bpe", "sentencepiece"),
        *("--num-workers", "0", "--log-format", "none"),
    ]


def validate_arguments(data: Path, checkpoint: Path, max_tokens: int) -> list[str]:
    """Returns the arguments of fairseq-validate for a dense model."""
    return [
        str(data),
        *("--user-dir", "fairseq_mos", "--task", "translation", "--path", str(checkpoint)),
        *("--valid-subset", "valid", "--max-tokens", str(max_tokens)),
        *("--num-workers", "0", "--log-format", "json"),
    ]


def read_valid_loss(log: str) -> float:
    """Returns the loss (label-smoothed, bits per token) from what fairseq-validate printed.

    Raises:
        PipelineError: there is none.
    """
    for line in reversed(log.split("\n")):
        match = re.search(r"\| valid \| (\{.*\})\s*$", line)
        if match:
            values = json.loads(match.group(1))
            if "valid_loss" in values:
                return float(values["valid_loss"])
    raise PipelineError("fairseq-validate printed no valid loss", 1)
