"""`fairseq-mos fit-latency`."""

from __future__ import annotations

import argparse
import math
import shlex
from pathlib import Path

from fairseq_mos import ranges


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument(
        "--dataset",
        required=True,
        help="what latency-dataset wrote, or a CSV file with HAT's columns (means over layers and latencies)",
    )
    parser.add_argument(
        "--output", required=True, help="predictor to write (.json); errors, a CSV and a picture lie beside it"
    )
    parser.add_argument(
        "--model",
        choices=("auto", "linear", "boosting", "both"),
        default="auto",
        help="ridge regression, boosted trees, boosted trees on the ridge's residuals; auto: the best in "
        "cross-validation",
    )
    parser.add_argument(
        "--seed", type=ranges.SEED, default=1, help="of the split into fitted and held-out architectures"
    )
    parser.add_argument("--search-space", help="the search space of a CSV file")
    parser.add_argument("--device-name", default="unknown", help="the device of a CSV file")


def run(args: argparse.Namespace) -> None:
    """Fits, prints the error on held-out architectures and the next command."""
    from fairseq_mos.cost.fitting import fit_file

    report = fit_file(args.dataset, args.output, args.model, args.seed, args.search_space, args.device_name)
    print(f"model {report.model}: {report.errors}")
    if not math.isnan(report.noise):
        print(
            f"noise floor: the same architecture, measured again, differs by {100 * report.noise:.2f} % on average; "
            f"exact predictions would reach a Kendall tau of {report.ceiling:.3f}"
        )
    print(f"wrote {', '.join(map(str, report.files))}")
    if report.remark:
        print(report.remark)
    command = ["fairseq-mos", "search", str(report.about.get("data") or "DATA")]
    command += ["--path", str(report.about.get("supernet") or "SUPERNET"), "--latency-predictor", args.output]
    if report.threads is not None:
        command += ["--threads", str(report.threads)]
    command += ["--constraint", f"latency_ms<={report.middle_ms:.4g}"]
    output = str(Path(args.output).with_name("search"))
    print("next (the limit is the median of what was measured):\n  " + shlex.join([*command, "--output", output]))
