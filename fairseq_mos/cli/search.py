"""`fairseq-mos search`."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from fairseq_mos.search.algorithms import ALGORITHMS, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    default = Settings()
    parser.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--path", required=True, help="supernet checkpoint")
    parser.add_argument("--output", required=True, help="folder to write; given again, the search continues")
    parser.add_argument("--algorithm", choices=list(ALGORITHMS), default="evolution", help="search algorithm")
    parser.add_argument("--budget", type=int, default=3125, help="how many architectures to evaluate")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same result")
    parser.add_argument(
        "--constraint",
        action="append",
        metavar="LIMIT",
        help='limit such as "params<=30e6" or "flops<1.2G" on params, params_no_embed or flops (at 30/30 '
        "tokens); may be given several times",
    )
    parser.add_argument("--valid-subset", default="valid", help="split whose loss is minimised")
    parser.add_argument("--max-tokens", type=int, default=4096, help="tokens of a batch")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU")
    sizes = parser.add_argument_group("evolution", "the published sizes by default")
    sizes.add_argument("--population", type=int, default=default.population, help="first generation")
    sizes.add_argument(
        "--parents", type=int, default=default.parents, help="best architectures that make a generation"
    )
    sizes.add_argument(
        "--mutations", type=int, default=default.mutations, help="mutated children of a generation"
    )
    sizes.add_argument(
        "--crossovers", type=int, default=default.crossovers, help="crossed children of a generation"
    )
    sizes.add_argument(
        "--mutation-prob", type=float, default=default.mutation_prob, help="probability to redraw each gene"
    )


def run(args: argparse.Namespace) -> None:
    """Searches, prints a table and the next command."""
    from fairseq_mos.errors import UserError
    from fairseq_mos.search.constraints import Constraint, check_reachable
    from fairseq_mos.search.terminal import ProgressBar

    # Mistakes in the arguments come out before seconds are spent on imports.
    constraints = [Constraint.parse(text) for text in args.constraint or []]
    settings = Settings(args.population, args.parents, args.mutations, args.crossovers, args.mutation_prob)
    if args.budget < 1:
        raise UserError(f"--budget is {args.budget}, allowed: 1 or more")

    import fairseq_mos

    fairseq_mos.register()
    # What fairseq tells about loading data would stand between our lines.
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    from fairseq_mos.search.costs import CostModel
    from fairseq_mos.search.driver import Plan, run_search
    from fairseq_mos.search.evaluator import LossEvaluator
    from fairseq_mos.search.provenance import measured_with
    from fairseq_mos.search.results import summary_table

    evaluator = LossEvaluator(args.path, args.data, args.valid_subset, args.max_tokens, args.cpu)
    plan = Plan(
        space=evaluator.space,
        costs=CostModel.of_supernet(evaluator.model),
        evaluate=evaluator.evaluate,
        measured=measured_with(evaluator, args.path, args.valid_subset, args.max_tokens),
        algorithm=args.algorithm,
        budget=args.budget,
        seed=args.seed,
        constraints=constraints,
        settings=settings,
        about={"path": args.path, "data": args.data},
    )
    check_reachable(plan.constraints, plan.space, plan.costs)
    sentences = sum(batch["nsentences"] for batch in evaluator.batches)
    print(
        f"searching space {plan.space.name!r} ({plan.space.size():,} architectures): loss of {sentences:,} "
        f"sentences of split {args.valid_subset!r} on {evaluator.device.type}",
        file=sys.stderr,
    )
    sizes = plan.effective_settings()
    if sizes != settings:
        print(
            f"--budget {args.budget} is small for a population of {settings.population}: scaled down to "
            f"population {sizes.population}, parents {sizes.parents}, mutations {sizes.mutations}, "
            f"crossovers {sizes.crossovers}",
            file=sys.stderr,
        )
    with ProgressBar(args.budget) as progress:
        result = run_search(plan, args.output, progress)

    found = {e.architecture: e.values for e in result.evaluations}
    best = result.best
    ends = (("largest", plan.space.largest()), ("smallest", plan.space.smallest()))
    rows = [(name, found.get(arch) or plan.costs(arch)) for name, arch in ends]
    rows.append((f"best ({best.architecture.digest()})", best.values))
    print(f"{len(result.evaluations)} architectures evaluated, {result.replayed} of them by an earlier run")
    if result.exhausted:
        print(f"ended before the budget of {args.budget}: no other architecture within the limits was found")
    if result.repaired:
        print(f"the limits leave little: {result.repaired} architectures were repaired to keep them")
    if any("loss" not in values for _, values in rows):
        print("architectures without a loss are outside the limits")
    print(summary_table(rows, plan.signature()))
    folder = Path(args.output)
    print(f"wrote {folder}/best.yaml, best.json, evaluations.csv, evaluations.jsonl and front/")
    print("next:")
    print(
        "  "
        + shlex.join(
            ["fairseq-mos", "extract", "--path", args.path, "--architecture", str(folder / "best.yaml")]
            + ["--output", str(folder / "best.pt"), "--data", args.data.split(":")[0]]
        )
    )
