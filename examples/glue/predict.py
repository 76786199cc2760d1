"""Predictions of a fine-tuned model: a script of its own, so that what it takes is free afterwards.

python predict.py CHECKPOINT DATA OUTPUT SPLIT...     writes OUTPUT/predictions.SPLIT.tsv and OUTPUT/model.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from fairseq import checkpoint_utils

import fairseq_mos  # noqa: F401  (its repairs: safe loading among them)
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm.sentences import predictions
from fairseq_mos.metrics.glue import write_predictions
from fairseq_mos.models.averaging import average_checkpoints


def open_model(checkpoint: Path, data: Path) -> tuple:
    """Returns a fine-tuned model, in eval mode, and its task.

    Raises:
        UserError: the checkpoint or the data cannot be used.
    """
    models, _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(data)}
    )
    return models[0].eval(), task


def main(checkpoint: str, data: str, output: str, *splits: str) -> int:
    """Writes the predictions, then the model without its optimizer."""
    try:
        model, task = open_model(Path(checkpoint), Path(data))
        model = model.cuda() if torch.cuda.is_available() else model
        for split in splits:
            write_predictions(Path(output) / f"predictions.{split}.tsv", predictions(model, task, split))
        average_checkpoints([checkpoint], Path(output) / "model.pt")
    except UserError as error:
        print(f"predict.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
