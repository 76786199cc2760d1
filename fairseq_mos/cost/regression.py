"""Regression of latency: models, their choice, and their error on held-out architectures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairseq_mos.errors import UserError

Rows = Sequence[Sequence[float]]
Predict = Callable[[Rows], "list[float]"]

HELD_OUT = 0.1
_FOLDS = 5
_LEAST = 20


@dataclass(frozen=True)
class Errors:
    """Error on held-out architectures.

    Attributes:
        architectures: how many were held out.
        fitted_to: how many the predictor was fitted to meanwhile.
        seed: of the split.
        mape: mean absolute relative error, %.
        rmse: root mean square error, milliseconds.
        kendall_tau: rank correlation of predicted and measured latency.
        low: 5 % quantile of predicted / measured - 1, %.
        high: 95 % quantile, %.
    """

    architectures: int
    fitted_to: int
    seed: int
    mape: float
    rmse: float
    kendall_tau: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"MAPE {self.mape:.2f} %, RMSE {self.rmse:.3g} ms, Kendall tau {self.kendall_tau:.3f}, 90 % of the errors "
            f"from {self.low:+.1f} % to {self.high:+.1f} % ({self.architectures} held-out architectures, fitted to "
            f"{self.fitted_to}, seed {self.seed})"
        )


def _linear(rows, milliseconds):
    import numpy as np
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 3, 15)))
    # So that the relative error is minimised, which is what counts for a limit. Weights of mean 1 keep the
    # strength of the regularisation independent of the unit.
    weights = milliseconds**-2.0
    fitted = model.fit(rows, milliseconds, ridgecv__sample_weight=weights / weights.mean())
    # It may go below zero outside of what it has seen: such a latency would keep every limit.
    return lambda rows: np.maximum(fitted.predict(rows), 0.1 * milliseconds.min())


def _boosting(rows, milliseconds):
    import numpy as np
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import GradientBoostingRegressor

    trees = GradientBoostingRegressor(
        loss="absolute_error", n_estimators=300, max_depth=4, learning_rate=0.05, subsample=0.7, random_state=0
    )
    return TransformedTargetRegressor(trees, func=np.log, inverse_func=np.exp).fit(rows, milliseconds).predict


def _both(rows, milliseconds):
    """Trees on what the linear model leaves over."""
    import numpy as np
    from sklearn.ensemble import GradientBoostingRegressor

    base = _linear(rows, milliseconds)
    trees = GradientBoostingRegressor(
        loss="absolute_error", n_estimators=200, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=0
    ).fit(rows, np.log(milliseconds / base(rows)))
    return lambda rows: base(rows) * np.exp(trees.predict(rows))


MODELS = {"linear": _linear, "boosting": _boosting, "both": _both}
"""Name -> function that fits a model: ridge regression, boosted trees, boosted trees on the ridge's residuals."""


def fit(model: str, rows: Rows, milliseconds: Sequence[float]) -> Predict:
    """Fits a model, deterministically.

    Args:
        model: a name of :data:`MODELS`.
        rows: features, (architectures, features).
        milliseconds: latency of each.

    Returns:
        A function from features to milliseconds.

    Raises:
        UserError: scikit-learn is not installed.
    """
    np = _numpy()
    predict = MODELS[model](np.asarray(rows, dtype=float), np.asarray(milliseconds, dtype=float))
    return lambda rows: [float(value) for value in predict(np.asarray(rows, dtype=float))]


def split(count: int, seed: int) -> tuple[list[int], list[int]]:
    """Returns the places of the architectures to fit to and of those to hold out, by seed.

    Raises:
        UserError: too few architectures.
    """
    if count < _LEAST:
        raise UserError(f"{count} measured architectures are too few to fit a latency predictor: {_LEAST} or more")
    np = _numpy()
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(4, round(HELD_OUT * count))
    return sorted(order[held_out:].tolist()), sorted(order[:held_out].tolist())


def choose(rows: Rows, milliseconds: Sequence[float], seed: int) -> str:
    """Returns the model with the smallest MAPE in cross-validation on these rows."""
    np = _numpy()
    folds = np.array_split(np.random.default_rng(seed).permutation(len(rows)), _FOLDS)

    def mape(model: str) -> float:
        parts = []
        for fold in folds:
            held_out = set(fold.tolist())
            rest = [i for i in range(len(rows)) if i not in held_out]
            predict = fit(model, [rows[i] for i in rest], [milliseconds[i] for i in rest])
            found = predict([rows[i] for i in fold])
            parts += [abs(value / milliseconds[i] - 1) for i, value in zip(fold, found)]
        return float(np.mean(parts))

    return min(MODELS, key=mape)


def errors(predicted: Sequence[float], measured: Sequence[float], fitted_to: int, seed: int) -> Errors:
    """Compares predictions of held-out architectures with their measurements."""
    np = _numpy()
    from scipy.stats import kendalltau

    p, m = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    relative = p / m - 1
    return Errors(
        architectures=len(m),
        fitted_to=fitted_to,
        seed=seed,
        mape=float(100 * np.abs(relative).mean()),
        rmse=float(np.sqrt(((p - m) ** 2).mean())),
        kendall_tau=float(kendalltau(p, m).statistic),
        low=float(100 * np.quantile(relative, 0.05)),
        high=float(100 * np.quantile(relative, 0.95)),
    )


def tau_ceiling(truth: Sequence[float], repeated: Sequence[float], seed: int) -> float:
    """Returns the Kendall tau that exact predictions would reach on measurements as noisy as these.

    Args:
        truth: latencies, taken as exact.
        repeated: measurements of one architecture; their relative deviations are drawn as noise.
        seed: of the draws.

    Returns:
        The mean of 200 draws; NaN where nothing was repeated.
    """
    np = _numpy()
    from scipy.stats import kendalltau

    if len(repeated) < 2:
        return float("nan")
    exact, noise = np.asarray(truth, dtype=float), np.asarray(repeated) / np.median(repeated)
    rng = np.random.default_rng(seed)
    draws = [kendalltau(exact, exact * rng.choice(noise, len(exact))).statistic for _ in range(200)]
    return float(np.mean(draws))


def _numpy():
    try:
        import numpy
        import sklearn  # noqa: F401 (what the models need; its absence should show before anything is done)
    except ImportError as error:
        raise UserError('a latency predictor needs scikit-learn: pip install "fairseq-mos[search]"') from error
    return numpy
