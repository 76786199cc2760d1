"""Translation scores with signatures: what sacreBLEU's own command prints, number for number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.bleu import bleu_metric
from fairseq_mos.ranges import RESAMPLES

METRICS = ("bleu", "chrf", "ter")
PAIRED = ("bs", "ar")
"""sacreBLEU's names of paired bootstrap resampling and of paired approximate randomisation."""


@dataclass(frozen=True)
class Score:
    """The score of one system on one test set.

    Attributes:
        metric: `bleu`, `chrf`, `ter`, `bleu_tok_compound` or `comet`.
        score: 0 to 100 for sacreBLEU's metrics; lower is better for TER alone.
        low: lower end of the bootstrapped 95 % confidence interval, or None.
        high: its upper end, or None.
        signature: sacreBLEU's signature, or what stands for it.
        p_value: of the difference to the first system, or None; also where their translations are the same, for which
            sacreBLEU's tests give no meaningful number.
        test: sacreBLEU's signature of the test that gave the p-value, or None.
    """

    metric: str
    score: float
    low: float | None
    high: float | None
    signature: str
    p_value: float | None = None
    test: str | None = None


def build_metrics(names: Sequence[str], target_lang: str) -> dict:
    """Returns sacreBLEU's metrics by name.

    Raises:
        UserError: an unknown or repeated name, or a language whose tokeniser is not installed.
    """
    from sacrebleu.metrics import CHRF, TER

    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise UserError(f"--metrics: {unknown[0] if unknown else ''!r} is unknown, allowed: {', '.join(METRICS)}")
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice:
        raise UserError(f"--metrics: {twice} is given twice")
    makers = {
        "bleu": lambda: bleu_metric(target_lang, "leave bleu out of --metrics"),
        "chrf": CHRF,
        "ter": TER,
    }
    return {name: _with_plain_scores(makers[name]()) for name in names}


def _with_plain_scores(metric):
    """Makes a metric's scores Python's floats.

    Of resampled sentences they are numpy's, but for those without any match or without any word, and sacreBLEU's
    mean of both kinds is a TypeError.
    """
    compute = metric._compute_score_from_stats

    def plain(stats):
        found = compute(stats)
        found.score = float(found.score)
        return found

    metric._compute_score_from_stats = plain
    return metric


def check_counts(hypotheses: Mapping[str, Sequence[str]], references: Sequence[Sequence[str]], test_set: str) -> None:
    """Raises unless every system has a translation of every sentence.

    Raises:
        UserError: names the system and both numbers.
    """
    number = len(references[0])
    for system, lines in hypotheses.items():
        if len(lines) != number:
            raise UserError(f"{system} has {len(lines)} translations, test set {test_set} has {number} references")
    for stream in references:
        if len(stream) != number:
            raise UserError(f"test set {test_set} has references of {number} and of {len(stream)} sentences")


def check_samples(resamples: int, trials: int) -> None:
    """Raises for numbers of resamples and of a paired test's samples that are not allowed.

    Raises:
        UserError: names the flag.
    """
    if RESAMPLES.check("--bootstrap", resamples) == 1:
        raise UserError("--bootstrap is 1, allowed: 0 (off) or 2 or more resamples")
    RESAMPLES.check("--paired-trials", trials)


def score_systems(
    hypotheses: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    target_lang: str,
    bootstrap: int = 1000,
    paired: str | None = None,
    trials: int = 0,
) -> dict[str, dict[str, Score]]:
    """Scores systems on one test set.

    Args:
        hypotheses: system -> detokenised translations, in the references' order.
        references: one or several streams of raw references.
        names: of :data:`METRICS`.
        target_lang: language code; decides BLEU's tokeniser.
        bootstrap: resamples of the confidence intervals; 0: none.
        paired: one of :data:`PAIRED`; compares every system with the first.
        trials: of the paired test; 0: sacreBLEU's default.

    Returns:
        system -> metric -> score.

    Raises:
        UserError: an unknown metric or test, a count that is not allowed, or translations that are missing.
    """
    check_samples(bootstrap, trials)
    check_counts(hypotheses, references, "given")
    tested = _paired(hypotheses, references, names, target_lang, paired, trials) if paired else {}
    found: dict[str, dict[str, Score]] = {}
    for system, lines in hypotheses.items():
        found[system] = {}
        for name, metric in build_metrics(names, target_lang).items():
            # sacreBLEU's own default for its resamples is 1, which means none.
            result = metric.corpus_score(
                list(lines), [list(stream) for stream in references], n_bootstrap=bootstrap or 1
            )
            low = high = None
            if bootstrap:
                low, high = float(result._mean - result._ci), float(result._mean + result._ci)
            p_value, test = tested.get((system, name), (None, None))
            signature = str(metric.get_signature())
            found[system][name] = Score(name, float(result.score), low, high, signature, p_value, test)
    return found


def _paired(hypotheses, references, names, target_lang, paired: str, trials: int) -> dict[tuple[str, str], tuple]:
    """Returns (system, metric) -> p-value against the first system, and the test's signature."""
    from sacrebleu.significance import PairedTest

    if paired not in PAIRED:
        raise UserError(f"--paired is {paired!r}, allowed: {', '.join(PAIRED)} or none")
    if len(hypotheses) < 2:
        return {}
    metrics = build_metrics(names, target_lang)
    systems = [(name, list(lines)) for name, lines in hypotheses.items()]
    test = PairedTest(systems, metrics, [list(stream) for stream in references], paired, trials)
    tests, results = test()
    found = {}
    # It names its columns as the scores print themselves (chrF2), in the order of the metrics.
    columns = [column for column in results if column != "System"]
    for name, column in zip(names, columns):
        for (system, _), result in zip(systems, results[column]):
            if result.p_value is not None and list(hypotheses[system]) != systems[0][1]:
                found[system, name] = float(result.p_value), str(tests[column])
    return found
