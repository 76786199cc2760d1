"""`fairseq-mos search`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fairseq_mos import ranges
from fairseq_mos.cli.flags import add_process_flags, from_flags
from fairseq_mos.errors import UserError
from fairseq_mos.search.algorithms import ALGORITHMS
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.launch import Processes, launch
from fairseq_mos.search.quantities import QUANTITIES, limits_help, parse_objectives
from fairseq_mos.search.request import BUDGET, SearchRequest
from fairseq_mos.search.scoring import POST_PROCESS, ProxyOptions, ScorerOptions
from fairseq_mos.search.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    default = Settings()
    parser.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--path", required=True, help="supernet checkpoint")
    parser.add_argument("--output", required=True, help="folder to write; given again, the search continues")
    parser.add_argument("--algorithm", choices=list(ALGORITHMS), default="evolution", help="search algorithm")
    parser.add_argument(
        "--objectives",
        default="loss",
        metavar="NAMES",
        help=f"what to optimise, separated by commas: {', '.join(QUANTITIES)}; the first one picks the winner; "
        "latency_ms is predicted with --latency-predictor, else measured on this machine",
    )
    parser.add_argument(
        "--budget",
        type=ranges.EVALUATIONS,
        help=f"how many architectures to evaluate (default: {BUDGET}; exhaustive: all); where a winner breaks a limit "
        "when measured, up to two quarters more, without --minutes",
    )
    parser.add_argument(
        "--minutes", type=ranges.MINUTES, help="end after this many minutes, over all runs of the search"
    )
    parser.add_argument("--seed", type=ranges.SEED, default=1, help="same seed, same result")
    parser.add_argument(
        "--constraint",
        action="append",
        metavar="LIMIT",
        help=f'limit such as "latency_ms<=120", "params<=30e6" or "flops<1.2G" on {limits_help()}; may be given '
        "several times",
    )
    parser.add_argument(
        "--start",
        action="append",
        metavar="ARCHITECTURE",
        help="architecture to evaluate first, besides the largest and the smallest: YAML file or random:SEED; "
        "may be given several times",
    )
    parser.add_argument("--valid-subset", default="valid", help="split to measure on")
    parser.add_argument("--max-tokens", type=ranges.TOKENS, default=4096, help="tokens of a batch")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU")
    parser.add_argument("--fp16", action="store_true", help="half precision (GPU)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 (GPU)")
    parser.add_argument(
        "--no-racing",
        action="store_true",
        help="evaluate every candidate on the whole split, also those that are clearly worse after a part of it",
    )
    latency = parser.add_argument_group("latency")
    latency.add_argument("--latency-predictor", metavar="FILE", help="what fairseq-mos fit-latency wrote")
    latency.add_argument(
        "--threads",
        type=ranges.THREADS,
        help="CPU threads that latency is meant for (default: as many as torch uses); a predictor for another number "
        "is refused",
    )
    latency.add_argument(
        "--any-device",
        action="store_true",
        help="take a predictor that was fitted on another device than this or for other threads (nothing is measured "
        "then)",
    )
    latency.add_argument(
        "--no-confirm", action="store_true", help="do not measure the winner's latency, believe the prediction"
    )
    latency.add_argument(
        "--latency-runs",
        type=ranges.RUNS,
        default=30,
        help="timed runs of each candidate, where latency_ms is an objective and no predictor is given",
    )
    latency.add_argument(
        "--confirm-runs",
        type=ranges.RUNS,
        default=100,
        help="timed runs of a winner's measurement, in turn with as many of the data set's reference",
    )
    scores = parser.add_argument_group("bleu and chrf")
    scores.add_argument("--beam", type=ranges.BEAM, default=5, help="beam size")
    scores.add_argument(
        "--post-process",
        metavar="KIND",
        help=f"how to join subwords before scoring, as in fairseq: {', '.join(POST_PROCESS)} (default: by the marks in "
        "the target dictionary)",
    )
    proxy = parser.add_argument_group(
        "proxy_score", "fine-tunes each candidate on a task of GLUE; masked language models"
    )
    proxy.add_argument("--proxy-data", metavar="DIR", help="the task, as examples/glue/run.sh prepare writes it")
    proxy.add_argument("--proxy-task", metavar="NAME", help="its name in GLUE (default: what DIR/about.json says)")
    short = ProxyOptions()
    for name, kind, text in (
        ("updates", ranges.TUNING, "updates of the fine-tuning"),
        ("lr", ranges.RATE, "peak learning rate, which falls linearly to 0; small models take a higher one"),
        ("batch_size", ranges.EXAMPLES, "examples of an update"),
        ("seed", ranges.SEED, "of head, dropout and order of examples"),
    ):
        flag = f"--proxy-{name.replace('_', '-')}"
        proxy.add_argument(flag, type=kind, default=getattr(short, name), help=f"{text} (default: %(default)s)")
    sizes = parser.add_argument_group("evolution and nsga2", "the published sizes of the evolution by default")
    for name, kind, text in (
        ("population", ranges.POPULATION, "first generation"),
        ("parents", ranges.POPULATION, "best architectures that make a generation (evolution)"),
        ("mutations", ranges.CHILDREN, "mutated children of a generation"),
        ("crossovers", ranges.CHILDREN, "crossed children of a generation"),
        ("mutation_prob", ranges.PROBABILITY, "probability to redraw each gene (evolution)"),
    ):
        sizes.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(default, name), help=text)
    add_process_flags(parser)


def outputs(args: argparse.Namespace) -> list[Path]:
    """Returns what the verb writes, whatever it finds."""
    from fairseq_mos.paths import found_below
    from fairseq_mos.search.plan import LOG, STATE

    names = ("best.yaml", "best.json", "front.csv", "front.json", "evaluations.csv", LOG, STATE)
    folder = Path(args.output)
    return [*(folder / name for name in names), *found_below(folder / "front", "*.yaml")]


def run(args: argparse.Namespace) -> None:
    """Searches, prints a table and the next command."""
    # Mistakes in the arguments come out before seconds are spent on imports.
    wanted = read(args)
    if not launch(from_flags(Processes, args, "distributed_"), search, wanted):
        search(wanted)


def read(args: argparse.Namespace) -> SearchRequest:
    """Returns what the flags ask for.

    Raises:
        UserError: bad or contradicting arguments, naming the flag.
    """
    constraints = [Constraint.parse(text) for text in args.constraint or []]
    objectives = parse_objectives(args.objectives)
    # NSGA-II has no parents apart from its population.
    parents = min(args.parents, args.population) if args.algorithm == "nsga2" else args.parents
    if args.fp16 and args.bf16:
        raise UserError("--fp16 and --bf16 exclude each other")
    return from_flags(
        SearchRequest,
        args,
        objectives=objectives,
        constraints=constraints,
        start=args.start or [],
        precision="fp16" if args.fp16 else "bf16" if args.bf16 else "fp32",
        scoring=from_flags(ScorerOptions, args, proxy=from_flags(ProxyOptions, args, "proxy_")),
        settings=from_flags(Settings, args, parents=parents),
    )


def search(request: SearchRequest) -> None:
    """Searches, as one of the processes that share it or alone."""
    import fairseq_mos

    fairseq_mos.register()
    from fairseq_mos.search.budget import read_state
    from fairseq_mos.search.driver import run_search
    from fairseq_mos.search.plan import STATE
    from fairseq_mos.search.prepare import prepare
    from fairseq_mos.search.ranks import Ranks
    from fairseq_mos.search.terminal import ProgressBar

    with Ranks.from_environment(request.cpu, request.distributed_timeout) as ranks:
        plan, about = prepare(request, ranks)
        if ranks.is_main:
            print("\n".join(about), file=sys.stderr)
        state = Path(request.output) / STATE
        with ProgressBar(plan.budget, plan.objectives[0], plan.minutes, read_state(state)[0]) as progress:
            result = run_search(plan, request.output, progress, ranks)
        if ranks.is_main:
            _report(request, plan, result)


def _report(request: SearchRequest, plan, result) -> None:
    from fairseq_mos.search.plots import draw_search
    from fairseq_mos.search.results import fronts, summary_table

    found = {e.architecture: e.values for e in result.evaluations}
    best = result.best
    ends = (("largest", plan.space.largest()), ("smallest", plan.space.smallest()))
    rows = [(name, found.get(arch) or plan.costs(arch)) for name, arch in ends]
    rows.append((f"best ({best.architecture.digest()})", best.values))
    if len(plan.objectives) > 1:
        front = fronts([e for e in result.evaluations if e.full], plan, result.confirmations)["pareto"]
        rows += [(f"front {number} ({e.architecture.digest()})", e.values) for number, e in _spread(front)]
    print("\n".join(_notes(plan, result)))
    if any(plan.objectives[0] not in values and plan.violation(arch) for (_, arch), (_, values) in zip(ends, rows)):
        print(f"architectures without {plan.objectives[0]} are outside the limits")
    print(summary_table(rows, plan.signature()))
    unit = plan.predicted.unit if plan.predicted else ""
    for c in result.confirmations:
        print(
            f"measured {c.evaluation.architecture.digest()}: {c.measured:.2f} {unit} (quartiles {c.low:.2f} to "
            f"{c.high:.2f}) relative to the reference, predicted {c.predicted:.2f} {unit} ({c.error:+.1%}); by the "
            f"clock {c.clocked:.2f} {unit}, the reference {c.reference:.2f} {unit}, in the data set {c.recorded:.2f} "
            f"{unit}"
            + ("" if c.holds else ": breaks the limit, replaced by the next best")
        )
    folder = Path(request.output)
    wrote = [f"{folder}/best.yaml", "best.json", "front.csv", "front.json", "front/", "evaluations.csv"]
    wrote.append("evaluations.jsonl")
    try:
        wrote += [path.name for path in draw_search(folder, plan, result)]
    except ImportError:
        print('no pictures: they need matplotlib (pip install "fairseq-mos[plot]")')
    print(f"wrote {', '.join(wrote[:-1])} and {wrote[-1]}")
    print("next:")
    print(
        "  "
        + shlex.join(
            ["fairseq-mos", "extract", "--path", request.path, "--architecture", str(folder / "best.yaml")]
            + ["--output", str(folder / "best.pt"), "--data", request.data.split(":")[0]]
        )
    )


def _notes(plan, result) -> list[str]:
    count = len(result.evaluations)
    lines = [f"{count} architectures evaluated, {result.replayed} of them by an earlier run"]
    raced = sum(not e.full for e in result.evaluations)
    if raced:
        lines.append(f"{raced} of them were clearly worse after a part of the split, and stopped there")
    if plan.algorithm == "exhaustive" and not result.exhausted and count < plan.space.size():
        lines.append(f"the space has {plan.space.size():,} architectures: a larger --budget goes on through the others")
    elif result.exhausted and count < plan.budget:
        lines.append(f"ended before the budget of {plan.budget}: no other architecture within the limits was found")
    if result.repaired:
        lines.append(f"the limits leave little: {result.repaired} architectures were repaired to keep them")
    return lines


def _spread(front: Sequence, rows: int = 10) -> list[tuple[int, object]]:
    """Returns numbered members of a front, its ends and some at even distances between them."""
    last = len(front) - 1
    places = dict.fromkeys(round(i * last / (rows - 1)) for i in range(rows)) if last >= rows else range(last + 1)
    return [(place + 1, front[place]) for place in places]
