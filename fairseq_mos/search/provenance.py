"""What measured values depend on, for signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fairseq_mos.download import file_digest
from fairseq_mos.version import __version__

if TYPE_CHECKING:
    from fairseq_mos.search.evaluator import LossEvaluator


def measured_with(evaluator: LossEvaluator, path: str, split: str, max_tokens: int) -> dict[str, object]:
    """Returns supernet, data, device and versions behind an evaluator's values.

    Contents count and places do not: a moved checkpoint or data set is the same one.

    Args:
        evaluator: the evaluator.
        path: its supernet checkpoint.
        split: its split.
        max_tokens: tokens of a batch (sums of floats depend on it, and on the number of batches).
    """
    cfg = evaluator.model.cfg
    return {
        "routing": str(cfg.routing),
        "experts": int(cfg.num_experts) if str(cfg.routing) != "shared" else 1,
        "supernet": f"sha256-{file_digest(path)[:16]}",
        "data": evaluator.data_digest,
        "split": split,
        "max_tokens": max_tokens,
        "batches": len(evaluator.batches),
        "device": evaluator.device.type,
        "precision": evaluator.precision,
        "torch": torch.__version__,
        "fairseq_mos": __version__,
    }
