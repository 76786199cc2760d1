"""python measure_conflicts.py REQUEST.json OUTPUT.json: how often subnets pull the weights that they share apart.

Gradients are of the validation loss, without dropout: what differs between architectures and nothing else.
"""

from __future__ import annotations

import random
import sys

from fairseq_mos.arch import Architecture
from fairseq_mos.documents import read_json
from fairseq_mos.families import family_of
from fairseq_mos.metrics.gradients import Conflict, conflicts
from fairseq_mos.models.opening import open_model
from fairseq_mos.tables import write_json

MAX_TOKENS = 4096

ALL = "all"
"""Kind of the row over all tensors."""


def measure(request: dict) -> dict:
    """Returns `rows` (share of negative cosines, mean cosine and count of each kind of weights) and `signature`.

    Args:
        request: `checkpoint`, `data`, `architectures` (plain data) and `batches`.

    Raises:
        UserError: a checkpoint or data that cannot be used.
    """
    architectures = [Architecture.from_dict(one) for one in request["architectures"]]
    opened = open_model(request["checkpoint"])
    meter = family_of(opened.space).evaluator(opened, request["data"], "valid", MAX_TOKENS, cpu=False, precision="fp32")
    criterion = meter.task.build_criterion(opened.state["cfg"].criterion).eval()

    def loss(model, batch):
        total, size, _ = criterion(model, batch)
        return total / size

    # The same batches on every device.
    batches = meter.make_batches(MAX_TOKENS)
    chosen = random.Random("batches of gradient conflict").sample(batches, min(request["batches"], len(batches)))
    found = [conflicts(meter.model, batch, architectures, loss) for batch in chosen]
    kinds = dict.fromkeys(kind for one in found for kind in one)
    parts = {kind: [one[kind] for one in found if kind in one] for kind in kinds}
    parts[ALL] = [part for some in parts.values() for part in some]
    signature = {"valid": meter.data_digest, "batches": len(chosen), "device": meter.device.type}
    return {"rows": [{"kind": kind, **pooled(some)} for kind, some in parts.items()], "signature": signature}


def pooled(some: list[Conflict]) -> dict[str, float]:
    """Returns shares and means of several measurements: over all of their cosines."""
    count = sum(one.count for one in some)
    means = {name: sum(getattr(one, name) * one.count for one in some) / count for name in ("negative", "cosine")}
    return {**means, "count": count}


if __name__ == "__main__":
    write_json(sys.argv[2], measure(read_json(sys.argv[1], "request")))
