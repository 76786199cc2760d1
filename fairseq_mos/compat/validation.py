"""What validation measures is there when the best checkpoint is chosen by it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from fairseq_mos.compat._patch import replace
from fairseq_mos.errors import UserError


def _bleu(meters: Any) -> float:
    from sacrebleu.metrics import BLEU

    counts, totals = meters["_bleu_counts"].sum, meters["_bleu_totals"].sum
    lengths = int(meters["_bleu_sys_len"].sum), int(meters["_bleu_ref_len"].sum)
    return round(BLEU.compute_bleu(list(counts), list(totals), *lengths, smooth_method="exp").score, 2)


def repair_empty_translations() -> bool:
    """Gives `--eval-bleu` a value while a model still translates everything by nothing.

    `TranslationTask.reduce_metrics` (`tasks/translation.py`) leaves out batches whose translations are all empty:
    their references are then missing from BLEU's brevity penalty, and a young model has no BLEU at all, which ends
    the training with a KeyError before its first checkpoint is saved.
    """
    import numpy as np
    from fairseq.logging import metrics
    from fairseq.tasks.translation import EVAL_BLEU_ORDER, TranslationTask

    def make(original: Callable) -> Callable:
        def reduce_metrics(self: Any, logging_outputs: list[dict], criterion: Any) -> None:
            original(self, logging_outputs, criterion)
            names = [f"_bleu_totals_{order}" for order in range(EVAL_BLEU_ORDER)]
            measured = self.cfg.eval_bleu and any(names[0] in log for log in logging_outputs)
            if not measured or any(log.get(name, 0) > 0 for log in logging_outputs for name in names):
                return
            for name in ("_bleu_counts", "_bleu_totals"):
                metrics.log_scalar(name, np.zeros(EVAL_BLEU_ORDER))
            metrics.log_scalar("_bleu_sys_len", 0)
            metrics.log_scalar("_bleu_ref_len", sum(int(log.get("_bleu_ref_len", 0)) for log in logging_outputs))
            metrics.log_derived("bleu", _bleu)

        return reduce_metrics

    return replace(TranslationTask, "reduce_metrics", "empty_translations", make)


class _Found(OrderedDict):
    """What was measured; asking for anything else is the user's mistake."""

    def __missing__(self, name: str) -> float:
        raise _unmeasured(name, self)


_TASKS = ("translation", "supernet_translation")
_CRITERIONS = (
    *("cross_entropy", "label_smoothed_cross_entropy", "label_smoothed_cross_entropy_with_alignment"),
    "supernet_label_smoothed_cross_entropy",
)
_ROLE_LOSS = re.compile(r"[a-z0-9]+_(nll_)?loss")


def _measured(trainer: Any) -> set[str] | None:
    """What validation will measure, or None where that is not known: of other tasks and criterions."""
    from fairseq.logging import metrics

    names = [getattr(getattr(trainer.cfg, part), "_name", None) for part in ("task", "criterion")]
    if names[0] not in _TASKS or names[1] not in _CRITERIONS:
        return None
    criterion = trainer.get_criterion()
    numbers = {"loss": 1.0, "nll_loss": 1.0, "ntokens": 2, "nsentences": 1}
    numbers["sample_size"] = 1 if getattr(criterion, "sentence_avg", False) else 2
    if getattr(criterion, "report_accuracy", False):
        numbers.update(n_correct=1, total=1)
    with metrics.aggregate(new_root=True) as found:
        trainer.task.reduce_metrics([numbers], criterion)
    measured = {name for name in found if not name.startswith("_")}
    return measured | ({"bleu"} if trainer.task.cfg.eval_bleu else set())


def _check_metric(trainer: Any) -> None:
    name, measured = trainer.cfg.checkpoint.best_checkpoint_metric, _measured(trainer)
    role = trainer.cfg.task._name == "supernet_translation" and _ROLE_LOSS.fullmatch(name)
    if measured is not None and name not in measured and not role:
        raise _unmeasured(name, measured)


def _unmeasured(name: str, measured: Iterable[str]) -> UserError:
    known = ", ".join(sorted(measured))
    return UserError(f"--best-checkpoint-metric {name}: validation measures no {name}, but {known}")


def repair_best_metric() -> bool:
    """Names a `--best-checkpoint-metric` that nothing measures.

    `validate` (`fairseq_cli/train.py`) looks it up after the first validation, which may be hours away, and ends
    with a KeyError. What the tasks and criterions of translation measure is known before.
    """
    from fairseq import checkpoint_utils
    from fairseq.logging.meters import MetersDict

    def make_values(original: Callable) -> Callable:
        def get_smoothed_values(self: Any) -> dict[str, float]:
            return _Found(original(self))

        return get_smoothed_values

    def make_load(original: Callable) -> Callable:
        def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> tuple:
            dataset = trainer.cfg.get("dataset")
            if dataset is not None and not dataset.disable_validation:
                if cfg.best_checkpoint_metric == "bleu" and getattr(trainer.task.cfg, "eval_bleu", None) is False:
                    raise UserError("--best-checkpoint-metric bleu needs --eval-bleu")
                _check_metric(trainer)
            return original(cfg, trainer, **kwargs)

        return load_checkpoint

    first = replace(MetersDict, "get_smoothed_values", "best_metric", make_values)
    return replace(checkpoint_utils, "load_checkpoint", "best_metric", make_load) or first
