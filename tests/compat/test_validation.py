"""BLEU in validation, and the metric that chooses the best checkpoint."""

from __future__ import annotations

import sys

import pytest
import sacrebleu
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.logging import metrics
from fairseq.tasks.translation import TranslationConfig, TranslationTask

import fairseq_mos
from fairseq_mos.errors import UserError
from tests import toy
from tests.fairseq_commands import ROOT, TINY, run, run_steps

fairseq_mos.register()


def bleu_of(batches: list[tuple[list[str], list[str]]]) -> float:
    """What fairseq logs for batches of hypotheses and references."""
    task = TranslationTask(TranslationConfig(eval_bleu=True), toy.dictionary(), toy.dictionary())
    criterion = CrossEntropyCriterion(task, False)
    with metrics.aggregate(new_root=True) as found:
        for hypotheses, references in batches:
            score = sacrebleu.corpus_bleu(hypotheses, [references])
            log = {"loss": 1.0, "sample_size": 1, "ntokens": 1}
            log.update(_bleu_sys_len=score.sys_len, _bleu_ref_len=score.ref_len)
            for i in range(4):
                log.update({f"_bleu_counts_{i}": score.counts[i], f"_bleu_totals_{i}": score.totals[i]})
            task.reduce_metrics([log], criterion)
    return found.get_smoothed_values()["bleu"]


def test_empty_translations_are_a_bleu_of_zero():
    assert bleu_of([(["", ""], ["a b c d e", "f g"]), ([""], ["h"])]) == 0


@pytest.mark.parametrize("first", ["full", "empty"])
def test_references_of_empty_translations_count(first):
    full = (["a b c d e f", "g h i j k"], ["a b c d e f", "g h i j x"])
    batches = [full, ([""], ["l m n o p q"])]
    whole = sacrebleu.corpus_bleu([*full[0], ""], [[*full[1], "l m n o p q"]]).score
    assert bleu_of(batches if first == "full" else batches[::-1]) == pytest.approx(whole, abs=0.01)
    assert whole < sacrebleu.corpus_bleu(full[0], [full[1]]).score - 10


def test_a_metric_that_nothing_measures_is_named():
    with metrics.aggregate(new_root=True) as found:
        metrics.log_scalar("loss", 1.0)
    assert found.get_smoothed_values() == {"loss": 1.0}
    with pytest.raises(UserError, match="--best-checkpoint-metric wer: validation measures no wer, but loss"):
        found.get_smoothed_values()["wer"]


def test_bleu_needs_eval_bleu_which_is_said_before_training(bench, tmp_path):
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(tmp_path / "model")]
    command = [sys.executable, "-m", "fairseq_cli.train", str(bench / "bin"), *TINY, *plugin, "--max-update", "1"]
    bleu = ["--best-checkpoint-metric", "bleu"]
    done = run([*command, *bleu], tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["fairseq-mos: error: --best-checkpoint-metric bleu needs --eval-bleu"]
    # One update makes no translator: every translation is as long as allowed, here empty.
    empty = ["--eval-bleu", "--eval-bleu-args", '{"max_len_a": 0, "max_len_b": 0, "min_len": 0}']
    run([*command, *bleu, *empty], tmp_path)
    assert (tmp_path / "model" / "checkpoint_best.pt").exists()


@pytest.mark.parametrize(
    ("flags", "metric", "measured"),
    [
        ([], "wer", "bsz, loss, ppl, wpb, wps"),
        (["--sentence-avg"], "accuracy", "bsz, loss, nll_loss, ppl, wpb, wps"),
        (["--criterion", "label_smoothed_cross_entropy"], "accuracy", "bsz, loss, nll_loss, ppl, wpb, wps"),
    ],
)
def test_a_metric_is_named_before_training(bench, tmp_path, flags, metric, measured):
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(tmp_path / "model")]
    command = [sys.executable, "-m", "fairseq_cli.train", str(bench / "bin"), *TINY, *plugin, *flags]
    done = run([*command, "--best-checkpoint-metric", metric], tmp_path, check=False)
    assert done.returncode == 2
    message = f"--best-checkpoint-metric {metric}: validation measures no {metric}, but {measured}"
    assert done.stderr.splitlines() == [f"fairseq-mos: error: {message}"]
    assert "Start iterating" not in done.stdout


def test_metrics_that_are_measured(bench, tmp_path):
    supernet = ["--task", "supernet_translation", "--arch", "mos_transformer_tiny", "--optimizer", "adam"]
    supernet += ["--criterion", "supernet_label_smoothed_cross_entropy", "--lr", "0.01", "--max-tokens", "64", "--cpu"]
    smoothed = ["--criterion", "label_smoothed_cross_entropy", "--report-accuracy"]
    runs = {"ppl": TINY, "accuracy": [*TINY, *smoothed], "smallest_nll_loss": supernet}
    common = [str(bench / "bin"), "--user-dir", str(ROOT / "fairseq_mos"), "--no-save", "--max-update", "1"]
    run_steps(
        [["fairseq-train", *common, *words, "--best-checkpoint-metric", metric] for metric, words in runs.items()],
        tmp_path,
    )
