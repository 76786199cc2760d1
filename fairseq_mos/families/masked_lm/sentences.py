"""Sentence classification and regression on data that fairseq's `sentence_prediction` reads: checks, predictions."""

from __future__ import annotations

from pathlib import Path

import torch
from fairseq import utils
from fairseq.data import Dictionary, data_utils
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from torch import nn

from fairseq_mos.documents import read_json, show
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.metrics.glue import MEASURES, REGRESSION, SENTENCES, Predictions
from fairseq_mos.paths import is_file, is_folder

HEAD = "sentence_classification_head"
"""fairseq's name of the head."""

SPLITS = ("train", "valid")

BATCH = 64
"""Examples that are predicted at once."""

ABOUT = "about.json"
"""Where examples/glue says what it has prepared."""


def task_name(where: str, folder: Path, given: str | None) -> str:
    """Returns a task of GLUE: the one that is given, else what the data's `about.json` says.

    Args:
        where: what to call the folder in messages.
        folder: of the data.
        given: its name.

    Raises:
        UserError: an unknown task, or another one than the data's.
    """
    if not is_folder(folder):
        raise UserError(f"{where} is no folder: expected a task that examples/glue/run.sh prepare wrote")
    told = None
    if is_file(folder / ABOUT):
        content = read_json(folder / ABOUT, "prepared task")
        told = content.get("task") if isinstance(content, dict) else None
    for name in (given, told):
        if name is not None and name not in MEASURES:
            raise UserError(f"{where}: task {show(name)} is unknown, allowed: {', '.join(MEASURES)}")
    if None not in (given, told) and given != told:
        raise UserError(f"{where} holds {told}, not {given}")
    if given is None and told is None:
        raise UserError(f"{where} has no {ABOUT} that tells its task: give its name ({', '.join(MEASURES)})")
    return given or told


def open_task(where: str, folder: Path, name: str, dictionary: Dictionary, longest: int, seed: int):
    """Returns fairseq's task with the splits `train` and `valid` loaded.

    Args:
        where: what to call the folder in messages.
        folder: of the data.
        name: of the task, see :func:`task_name`.
        dictionary: of the model.
        longest: input of the model, in tokens.
        seed: of the order of examples.

    Raises:
        UserError: missing or damaged files, columns or labels of another task, another dictionary, no or too long
            examples.
    """
    _check_files(where, folder, name)
    regression = name in REGRESSION
    classes = 1 if regression else len(_entries(folder / "label" / "dict.txt"))
    if classes < 1:
        raise UserError(f"{where}: label/dict.txt has no classes")
    cfg = SentencePredictionConfig(
        data=str(folder),
        num_classes=classes,
        init_token=dictionary.bos(),
        separator_token=dictionary.eos(),
        max_positions=longest,
        regression_target=regression,
        classification_head_name=HEAD,
        seed=seed,
    )
    task = SentencePredictionTask.setup_task(cfg)
    own = task.source_dictionary.symbols
    if own != dictionary.symbols:
        raise UserError(
            f"{where} has another dictionary ({len(own)} entries with the mask) than the model ({len(dictionary)}): "
            "prepare it with the model's dict.txt"
        )
    for split in SPLITS:
        _load(where, task, split, longest)
    return task


def _check_files(where: str, folder: Path, name: str) -> None:
    columns = [f"input{number}" for number in range(3) if is_folder(folder / f"input{number}")]
    if len(columns) != SENTENCES[name]:
        raise UserError(
            f"{where} has {len(columns)} columns of sentences ({', '.join(columns) or 'no input0'}), {name} has "
            f"{SENTENCES[name]}"
        )
    files = [f"{column}/{split}.{ending}" for column in columns for split in SPLITS for ending in ("idx", "bin")]
    files += [f"{column}/dict.txt" for column in columns]
    if name in REGRESSION:
        files += [f"label/{split}.label" for split in SPLITS]
    else:
        files += ["label/dict.txt", *(f"label/{split}.{ending}" for split in SPLITS for ending in ("idx", "bin"))]
    for file in files:
        if not is_file(folder / file):
            raise UserError(f"{where} has no {file}: expected {name} as examples/glue/run.sh prepare writes it")


def _entries(path: Path) -> list[str]:
    labels = Dictionary.load(str(path))
    return labels.symbols[labels.nspecial :]


def _load(where: str, task: SentencePredictionTask, split: str, longest: int) -> None:
    try:
        dataset = task.load_dataset(split)
        lengths = [dataset.num_tokens(index) for index in range(len(dataset))]
        labels = _labels(task, split)
    except Exception as error:  # of any reader, for any damage
        raise UserError(f"{where}: split {split} cannot be read ({one_line(error, 300)})") from error
    if not lengths:
        raise UserError(f"{where}: split {split} is empty")
    unknown = next((place for place, label in enumerate(labels, 1) if not label), None)
    if unknown is not None:
        raise UserError(f"{where}: the label of example {unknown} of {split} is not in label/dict.txt")
    if max(lengths) > longest:
        raise UserError(
            f"{where}: an example of {split} has {max(lengths)} tokens, the model takes {longest}: prepare it with "
            f"--length {longest} or less"
        )


def _labels(task: SentencePredictionTask, split: str) -> list[bool]:
    """Returns for each label whether it is a class; numbers, and how many there are, fairseq checks itself."""
    if task.cfg.regression_target:
        return []
    path = Path(task.cfg.data) / "label"
    first, last = task.label_dictionary.nspecial, task.label_dictionary.nspecial + task.cfg.num_classes
    read = data_utils.load_indexed_dataset(str(path / split), task.label_dictionary)
    return [len(read[place]) == 2 and first <= int(read[place][0]) < last for place in range(len(read))]


@torch.no_grad()
def predictions(model: nn.Module, task: SentencePredictionTask, split: str, batch_size: int = BATCH) -> Predictions:
    """Returns what a model says of a split, each example once and in the order of the file.

    Args:
        model: fine-tuned, in eval mode.
        task: its task.
        split: such as `valid`.
        batch_size: examples at once; it does not matter for what is said.

    Raises:
        UserError: an example is missing.
    """
    dataset = task.datasets.get(split) or task.load_dataset(split)
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
