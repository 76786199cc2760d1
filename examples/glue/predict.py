"""Predictions of a fine-tuned model: a script of its own, so that what it takes is free afterwards.

python predict.py CHECKPOINT DATA OUTPUT SPLIT...     writes OUTPUT/predictions.SPLIT.tsv and OUTPUT/model.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from fairseq import checkpoint_utils, utils

import fairseq_mos  # noqa: F401  (its repairs: safe loading among them)
from fairseq_mos.errors import UserError
from fairseq_mos.metrics.glue import Predictions, write_predictions
from fairseq_mos.models.averaging import average_checkpoints

BATCH = 64


def open_model(checkpoint: Path, data: Path) -> tuple:
    """Returns a fine-tuned model, in eval mode, and its task.

    Raises:
        UserError: the checkpoint or the data cannot be used.
    """
    models, _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(data)}
    )
    return models[0].eval(), task


@torch.no_grad()
def predictions(model, task, split: str, batch_size: int = BATCH) -> Predictions:
    """Returns what a model says of a split, each example once and in the order of the file.

    Args:
        model: of :func:`open_model`.
        task: its task.
        split: such as `valid`.
        batch_size: examples at once; it does not matter for what is said.

    Raises:
        UserError: an example is missing.
    """
    dataset = task.load_dataset(split)
    number = len(dataset)
    batches = task.get_batch_iterator(
        dataset, max_sentences=batch_size, max_positions=task.max_positions(), required_batch_size_multiple=1
    ).next_epoch_itr(shuffle=False)
    device = next(model.parameters()).device
    head = task.cfg.classification_head_name
    found: dict[int, tuple] = {}
    for sample in batches:
        sample = utils.move_to_cuda(sample) if device.type == "cuda" else sample
        logits, _ = model(**sample["net_input"], features_only=True, classification_head_name=head)
        if task.cfg.regression_target:
            told, target = logits.view(-1).tolist(), sample["target"].view(-1).tolist()
        else:
            # Classes by name: the label dictionary's numbers begin behind its special symbols.
            names = task.label_dictionary.symbols[task.label_dictionary.nspecial :]
            told = [names[place] for place in logits.argmax(-1).tolist()]
            target = [names[place] for place in sample["target"].view(-1).tolist()]
        found.update(zip(sample["id"].tolist(), zip(target, told)))
    if sorted(found) != list(range(number)):
        raise UserError(f"{task.cfg.data}: {len(found)} of {number} examples of {split} were scored")
    labels, said = zip(*(found[index] for index in range(number)))
    return Predictions(list(labels), list(said))


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
