"""From the arguments of `fairseq-mos search` to the plan of a search."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from fairseq_mos.errors import UserError
from fairseq_mos.files import check_folder
from fairseq_mos.search.budget import check_budget
from fairseq_mos.search.constraints import Constraint, check_reachable
from fairseq_mos.search.objectives import parse_objectives
from fairseq_mos.search.proposals import ENUMERABLE
from fairseq_mos.search.settings import Settings

BUDGET = 3125
"""Evaluations of HAT's search: 125 architectures, then 30 generations of 100."""

POST_PROCESS = ("sentencepiece", "subword_nmt", "@@ ", "wordpiece", "letter", "silence", "_EOW", "none")
"""The kinds of subwords that fairseq joins."""

_SCORES = ("bleu", "chrf")


@dataclass(frozen=True)
class Checked:
    """Arguments that were checked before anything was loaded."""

    constraints: list[Constraint]
    settings: Settings
    objectives: tuple[str, ...]


def check_arguments(args: argparse.Namespace) -> Checked:
    """Checks what can be checked without the supernet.

    Raises:
        UserError: bad or contradicting arguments, naming the flag.
    """
    constraints = [Constraint.parse(text) for text in args.constraint or []]
    objectives = parse_objectives(args.objectives)
    # NSGA-II has no parents apart from its population.
    parents = min(args.parents, args.population) if args.algorithm == "nsga2" else args.parents
    settings = Settings(args.population, parents, args.mutations, args.crossovers, args.mutation_prob)
    check_budget(BUDGET if args.budget is None else args.budget, args.minutes)
    if args.post_process not in (None, *POST_PROCESS):
        raise UserError(f"--post-process is {args.post_process!r}, allowed: {', '.join(POST_PROCESS)}")
    check_folder(args.output)
    if args.algorithm == "nsga2" and len(objectives) < 2:
        raise UserError(f"--algorithm nsga2 needs several --objectives, such as loss,latency_ms: got {args.objectives}")
    if args.fp16 and args.bf16:
        raise UserError("--fp16 and --bf16 exclude each other")
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads is {args.threads}, allowed: 1 or more")
    for flag, runs in (("confirm", args.confirm_runs), ("latency", args.latency_runs)):
        if runs < 4:
            raise UserError(f"--{flag}-runs is {runs}, allowed: 4 or more")
    return Checked(constraints, settings, objectives)


def prepare(args: argparse.Namespace, checked: Checked, ranks):
    """Loads the supernet and plans the search.

    Args:
        args: the command's arguments.
        checked: what :func:`check_arguments` returned.
        ranks: the processes that share the work.

    Returns:
        The plan, and lines that tell what will happen.

    Raises:
        UserError: unusable input, or a limit that no architecture meets.
    """
    from fairseq_mos.arch.select import resolve
    from fairseq_mos.search.costs import CostModel
    from fairseq_mos.search.evaluator import LossEvaluator
    from fairseq_mos.search.plan import Plan, recorded_budget
    from fairseq_mos.search.provenance import measured_with
    from fairseq_mos.search.translation import TranslationScorer

    evaluator = LossEvaluator(
        args.path,
        args.data,
        args.valid_subset,
        args.max_tokens,
        cpu=args.cpu,
        precision="fp16" if args.fp16 else "bf16" if args.bf16 else "fp32",
    )
    space = evaluator.space
    predictor = _predictor(args, evaluator.model)
    measured = measured_with(evaluator, args.path, args.valid_subset, args.max_tokens)
    parts = [evaluator.evaluate]
    if any(name in _SCORES for name in checked.objectives):
        scorer = TranslationScorer(evaluator, args.beam, args.post_process)
        measured.update(scorer.signature())
        parts.append(scorer.evaluate)
    if "latency_ms" in checked.objectives and predictor is None:
        settings = _own_settings(args, evaluator.device.type, ranks)
        measured.update({f"latency_{name}": value for name, value in settings.signature().items()})
        parts.append(_latency(evaluator.model, settings))

    def evaluate(architecture):
        return {name: value for part in parts for name, value in part(architecture).items()}

    budget = args.budget
    if budget is None:
        budget = space.size() if args.algorithm == "exhaustive" else BUDGET
    plan = Plan(
        space=space,
        costs=CostModel.of_supernet(evaluator.model, predictor),
        evaluate=evaluate,
        measured=measured,
        algorithm=args.algorithm,
        budget=budget,
        fitted_to=ranks.broadcast(recorded_budget(Path(args.output)) if ranks.is_main else None),
        minutes=args.minutes,
        seed=args.seed,
        constraints=checked.constraints,
        settings=checked.settings,
        objectives=checked.objectives,
        given=[resolve(space, text) for text in args.start or []],
        race=None if args.no_racing else evaluator.race,
        about={"path": args.path, "data": args.data},
    )
    check_reachable(plan.constraints, space, plan.costs)
    limited = any(constraint.name == "latency_ms" for constraint in plan.constraints)
    # Measuring here says nothing about another device.
    if limited and not args.no_confirm and not args.any_device:
        plan = replace(plan, measure_latency=_relative(evaluator.model, predictor, args.confirm_runs))
    for architecture, text in zip(plan.given, args.start or []):
        if plan.violation(architecture):
            raise UserError(f"--start {text}: the architecture breaks {' or '.join(map(str, plan.constraints))}")
    if plan.algorithm == "exhaustive" and space.size() > ENUMERABLE:
        raise UserError(
            f"--algorithm exhaustive is for small spaces: {space.name!r} has {space.size():,} architectures, "
            f"allowed: {ENUMERABLE:,}"
        )
    sentences = sum(batch["nsentences"] for batch in evaluator.batches)
    about = [
        f"searching space {space.name!r} ({space.size():,} architectures): {', '.join(plan.objectives)} on "
        f"{sentences:,} sentences of split {args.valid_subset!r} on {evaluator.device.type}"
        + (f", {ranks.size} processes" if ranks.size > 1 else "")
    ]
    if plan.measure_latency is not None and predictor.data.reference is None:
        about.append(
            f"{args.latency_predictor} records no reference (an earlier version's file): winners are compared with the "
            f"largest architecture, of which it predicts {predictor.reference().milliseconds:.2f} ms"
        )
    sizes = plan.effective_settings()
    if sizes != checked.settings:
        about.append(
            f"a budget of {plan.fitted_to or budget} is small for a population of {checked.settings.population}: "
            f"scaled down to population {sizes.population}, parents {sizes.parents}, mutations {sizes.mutations}, "
            f"crossovers {sizes.crossovers}"
        )
    return plan, about


def _predictor(args: argparse.Namespace, model):
    if args.latency_predictor is None:
        return None
    from fairseq_mos.cost.predictor import LatencyPredictor

    predictor = LatencyPredictor.load(args.latency_predictor)
    if args.any_device:
        predictor.check(model.space)
    else:
        import torch

        here = {
            **_settings(predictor).signature(),
            "threads": args.threads or torch.get_num_threads(),
            "vocabulary": len(model.decoder.dictionary),
        }
        predictor.check(model.space, here)
    return predictor


def _settings(predictor, runs: int = 100):
    """Returns the settings of a measurement on this machine like those that the predictor was fitted to."""
    from fairseq_mos.cost.latency import LatencySettings

    return LatencySettings.from_signature(predictor.signature, runs=runs)


def _own_settings(args: argparse.Namespace, device: str, ranks):
    """Returns the settings for latency as a measured objective."""
    from fairseq_mos.cost.latency import LatencySettings

    if ranks.size > 1:
        raise UserError(
            f"--objectives latency_ms without --latency-predictor FILE measures on this machine, where {ranks.size} "
            "processes would disturb each other: run one, or give a predictor"
        )
    precision = "fp16" if args.fp16 else "bf16" if args.bf16 else "fp32"
    return LatencySettings(
        device=device,
        precision=precision if device == "cuda" else "fp32",
        threads=args.threads,
        runs=args.latency_runs,
    )


def _latency(model, settings):
    def measure(architecture):
        from fairseq_mos.cost.latency import LatencyMeter

        latency = LatencyMeter(settings).measure(model.extract(architecture))
        return {"latency_ms": latency.median_ms, "low_ms": latency.low_ms, "high_ms": latency.high_ms}

    return measure


def _relative(model, predictor, runs: int):
    """Returns a measurement in turn with the predictor's reference."""
    reference = predictor.reference()
    settings = _settings(predictor, runs)

    def measure(architecture):
        from fairseq_mos.cost.comparison import compare
        from fairseq_mos.cost.latency import LatencyMeter

        found = compare(LatencyMeter(settings), model.extract(architecture), model.extract(reference.architecture))
        return found.values(reference.milliseconds)

    return measure
