"""`--eval-bleu` in training counts as `sacrebleu` and `fairseq-mos evaluate` do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fairseq_mos.compat._patch import is_replaced, replace

_INSTEAD = "segment the text yourself and give --eval-tokenized-bleu"


def repair_bleu_tokenizer() -> bool:
    """Gives `--eval-bleu` the tokeniser of the target language.

    `TranslationTask._inference_with_bleu` (`tasks/translation.py`) calls `sacrebleu.corpus_bleu`, whose tokeniser
    is 13a whatever the language: Chinese and Japanese sentences are single words to it. A tokeniser that is not
    installed is refused before training, not at its first validation; a checkpoint that was trained with
    `--eval-bleu` still translates without it.
    """
    from fairseq.tasks.translation import TranslationTask

    if is_replaced(TranslationTask, "_inference_with_bleu", "bleu_tokenizer"):
        return False
    if "trg_lang" in inspect.getsource(TranslationTask._inference_with_bleu):
        return False

    def checked(original: Callable) -> Callable:
        def build_model(self: Any, cfg: Any, from_checkpoint: bool = False) -> Any:
            if not from_checkpoint and self.cfg.eval_bleu and not self.cfg.eval_tokenized_bleu:
                _metric(self)
            return original(self, cfg, from_checkpoint)

        return build_model

    def scoring(original: Callable) -> Callable:
        def _inference_with_bleu(self: Any, *args: Any, **kwargs: Any) -> Any:
            import sacrebleu

            plain = sacrebleu.corpus_bleu

            def corpus_bleu(hypotheses: list, references: list, **options: Any) -> Any:
                if options:  # --eval-tokenized-bleu
                    return plain(hypotheses, references, **options)
                return _metric(self).corpus_score(hypotheses, references)

            # The function looks it up in the module at every call.
            sacrebleu.corpus_bleu = corpus_bleu
            try:
                return original(self, *args, **kwargs)
            finally:
                sacrebleu.corpus_bleu = plain

        return _inference_with_bleu

    replace(TranslationTask, "build_model", "bleu_tokenizer", checked)
    return replace(TranslationTask, "_inference_with_bleu", "bleu_tokenizer", scoring)


def _metric(task: Any) -> Any:
    from fairseq_mos.metrics.bleu import bleu_metric

    return bleu_metric(task.cfg.target_lang, _INSTEAD)
