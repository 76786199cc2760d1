"""python measure.py REQUEST.json OUTPUT.json: measures architectures of a trained model.

A supernet's subnets and a model that was trained from scratch go through the same functions: the validation loss and
the translations of the search. Only what a model is loaded as differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from torch import nn

from fairseq_mos.arch import Architecture, SearchSpace
from fairseq_mos.documents import read_json
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.families.translation.evaluator import TranslationEvaluator
from fairseq_mos.models.opening import Opened, open_model
from fairseq_mos.search.scoring import ScorerOptions
from fairseq_mos.tables import write_json

MAX_TOKENS = 4096


class OfScratch(TranslationEvaluator):
    """Measures a dense model as if it were a supernet of one architecture; of the space only the family counts."""

    def load(self, opened: Opened, folder: Path) -> nn.Module:
        model = open_model(opened.path, str(folder)).model
        model.cfg, model.space = opened.state["cfg"].model, self._space
        own = model.architecture

        def activate(architecture: Architecture) -> None:
            if architecture != own:
                raise UserError(f"{opened.path} is architecture {own.digest()}, not {architecture.digest()}")

        model.activate = activate
        return model

    @classmethod
    def of(cls, space: SearchSpace):
        """Returns the class for a search space, to be called as :class:`TranslationEvaluator` is."""
        return type(cls.__name__, (cls,), {"_space": space})


def measure(request: dict) -> dict:
    """Returns `rows` (values of each architecture) and `signature` (how they were measured).

    Args:
        request: `checkpoint`, `data`, `space` and `architectures` (plain data), `scratch`, `scores`, `beam`.

    Raises:
        UserError: a checkpoint or data that cannot be used.
    """
    space = SearchSpace.from_dict(request["space"])
    architectures = [Architecture.from_dict(one) for one in request["architectures"]]
    opened = open_model(request["checkpoint"])
    kind = OfScratch.of(space) if request["scratch"] else family_of(space).evaluator
    rows = [{"architecture": one.digest()} for one in architectures]
    signature = {}
    for split in ("valid", "test") if request["scores"] else ("valid",):
        meter = kind(opened, request["data"], split, MAX_TOKENS, cpu=False, precision="fp32")
        if split == "valid":
            signature = {"valid": meter.data_digest, "device": meter.device.type, "max_tokens": MAX_TOKENS}
        else:
            meter = meter.scorer(ScorerOptions(request["beam"]))
            signature |= {"scored_on": split, **meter.signature()}
        for row, architecture in zip(rows, architectures):
            row |= meter.evaluate(architecture)
    return {"rows": rows, "signature": signature}


if __name__ == "__main__":
    write_json(sys.argv[2], measure(read_json(sys.argv[1], "request")))
