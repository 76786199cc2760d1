"""From a request to the plan of a search: loads the supernet and chooses who measures what."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch

from fairseq_mos.arch import Architecture
from fairseq_mos.arch.select import resolve
from fairseq_mos.cost.comparison import compare
from fairseq_mos.cost.latency import LatencyMeter, LatencySettings
from fairseq_mos.cost.predictor import LatencyPredictor
from fairseq_mos.errors import UserError
from fairseq_mos.families import family_of
from fairseq_mos.models.opening import open_model
from fairseq_mos.search.candidates import ENUMERABLE
from fairseq_mos.search.confirm import Measure
from fairseq_mos.search.constraints import check_reachable
from fairseq_mos.search.costs import CostModel
from fairseq_mos.search.evaluation import Values
from fairseq_mos.search.evaluator import LossEvaluator
from fairseq_mos.search.plan import Plan, recorded_budget
from fairseq_mos.search.quantities import CLOCK, QUANTITIES, SCORES
from fairseq_mos.search.ranks import Ranks
from fairseq_mos.search.request import BUDGET, Aim, SearchRequest


def prepare(request: SearchRequest, ranks: Ranks) -> tuple[Plan, list[str]]:
    """Loads the supernet and plans the search.

    Args:
        request: what is asked for.
        ranks: the processes that share the work.

    Returns:
        The plan, and lines that tell what will happen.

    Raises:
        UserError: unusable input, or a limit that no architecture meets.
    """
    opened = open_model(request.path)
    space = opened.space
    for name in request.objectives:
        QUANTITIES[name].require(space.schema.family, f"--objectives {','.join(request.objectives)}")
    for constraint in request.constraints:
        QUANTITIES[constraint.name].require(space.schema.family, f"--constraint {constraint}")
    evaluator = family_of(space).evaluator(
        opened, request.data, request.valid_subset, request.max_tokens, request.cpu, request.precision
    )
    predictor = _predictor(request, evaluator)
    evaluate, measured = _measuring(request, evaluator, predictor, ranks)
    plan = Plan(
        **{field.name: getattr(request, field.name) for field in fields(Aim)},
        space=space,
        costs=CostModel(evaluator.counts, predictor, space.schema.family),
        evaluate=evaluate,
        measured=measured,
        fitted_to=ranks.broadcast(recorded_budget(Path(request.output)) if ranks.is_main else None),
        given=[resolve(space, text) for text in request.start],
        race=None if request.no_racing else evaluator.race,
        expect=evaluator.expect,
        about={"path": request.path, "data": request.data},
    )
    if plan.budget is None:
        plan = replace(plan, budget=space.size() if request.algorithm == "exhaustive" else BUDGET)
    check_reachable(plan.constraints, space, plan.costs)
    # Measuring here says nothing about another device.
    if plan.predicted is not None and not request.no_confirm and not request.any_device:
        plan = replace(plan, remeasure=_relative(evaluator.model, predictor, request.confirm_runs))
    for architecture, text in zip(plan.given, request.start):
        if plan.violation(architecture):
            raise UserError(f"--start {text}: the architecture breaks {' or '.join(map(str, plan.constraints))}")
    if plan.algorithm == "exhaustive" and space.size() > ENUMERABLE:
        raise UserError(
            f"--algorithm exhaustive is for small spaces: {space.name!r} has {space.size():,} architectures, "
            f"allowed: {ENUMERABLE:,}"
        )
    return plan, _lines(request, evaluator, plan, ranks)


def _lines(request: SearchRequest, evaluator: LossEvaluator, plan: Plan, ranks: Ranks) -> list[str]:
    space, predictor = plan.space, plan.costs.predictor
    sentences = sum(batch["nsentences"] for batch in evaluator.batches)
    lines = [
        f"searching space {space.name!r} ({space.size():,} architectures): {', '.join(plan.objectives)} on "
        f"{sentences:,} sentences of split {request.valid_subset!r} on {evaluator.device.type}"
        + (f", {ranks.size} processes" if ranks.size > 1 else "")
    ]
    if plan.remeasure is not None and predictor.data.reference is None:
        lines.append(
            f"{request.latency_predictor} records no reference (an earlier version's file): winners are compared with "
            f"the largest architecture, of which it predicts {predictor.reference().milliseconds:.2f} ms"
        )
    asked, sizes = request.settings, plan.effective_settings()
    if sizes != asked:
        lines.append(
            f"a budget of {plan.fitted_to or plan.budget} is small for a population of {asked.population}: "
            f"scaled down to population {sizes.population}, parents {sizes.parents}, mutations {sizes.mutations}, "
            f"crossovers {sizes.crossovers}"
        )
    return lines


def _measuring(
    request: SearchRequest, evaluator: LossEvaluator, predictor: LatencyPredictor | None, ranks: Ranks
) -> tuple[Measure, dict[str, object]]:
    """Returns what measures an architecture, and what its values depend on."""
    sources = {QUANTITIES[name].source for name in request.objectives}
    signature, parts = evaluator.signature(), [evaluator.evaluate]
    if SCORES in sources:
        scorer = evaluator.scorer(request.scoring)
        signature.update(scorer.signature())
        parts.append(scorer.evaluate)
    if CLOCK in sources and predictor is None:
        settings = _own_settings(request, evaluator.device.type, ranks)
        signature.update({f"latency_{name}": value for name, value in settings.signature().items()})
        parts.append(_latency(evaluator.model, settings))

    def evaluate(architecture: Architecture) -> Values:
        return {name: value for part in parts for name, value in part(architecture).items()}

    return evaluate, signature


def _predictor(request: SearchRequest, evaluator: LossEvaluator) -> LatencyPredictor | None:
    if request.latency_predictor is None:
        return None
    predictor = LatencyPredictor.load(request.latency_predictor)
    here = None
    if not request.any_device:
        threads = request.threads or torch.get_num_threads()
        settings = LatencySettings.from_signature(predictor.signature)
        here = {**settings.signature(), "threads": threads, **evaluator.workload}
    predictor.check(evaluator.space, here)
    return predictor


def _own_settings(request: SearchRequest, device: str, ranks: Ranks) -> LatencySettings:
    """Returns the settings for latency as a measured objective."""
    if ranks.size > 1:
        raise UserError(
            f"--objectives latency_ms without --latency-predictor FILE measures on this machine, where {ranks.size} "
            "processes would disturb each other: run one, or give a predictor"
        )
    return LatencySettings(
        device=device,
        precision=request.precision if device == "cuda" else "fp32",
        threads=request.threads,
        runs=request.latency_runs,
    )


def _latency(model, settings: LatencySettings) -> Measure:
    def measure(architecture: Architecture) -> Values:
        latency = LatencyMeter(settings).measure(model.extract(architecture))
        return {"latency_ms": latency.median_ms, "low_ms": latency.low_ms, "high_ms": latency.high_ms}

    return measure


def _relative(model, predictor: LatencyPredictor, runs: int) -> Measure:
    """Returns a measurement in turn with the predictor's reference."""
    reference = predictor.reference()
    settings = LatencySettings.from_signature(predictor.signature, runs=runs)

    def measure(architecture: Architecture) -> Values:
        found = compare(LatencyMeter(settings), model.extract(architecture), model.extract(reference.architecture))
        return found.values(reference.milliseconds)

    return measure
