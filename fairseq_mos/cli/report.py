"""`fairseq-mos report`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument(
        "folder", metavar="RUN", help="folder with logs of fairseq-train, searches, scores.json"
    )
    parser.add_argument(
        "--output",
        help="page to write (.html), Markdown beside it (default: RUN/report.html; --retrain: RUN/retraining.json)",
    )
    parser.add_argument("--title", help="of the page (default: the folder's name)")
    parser.add_argument(
        "--supernet", metavar="FILE", help="checkpoint whose experts are shown (default: the searched one)"
    )
    retraining = parser.add_argument_group("retraining")
    retraining.add_argument(
        "--retrain",
        action="store_true",
        help="only compare retraining with training from scratch: updates and time until the same valid loss",
    )
    retraining.add_argument(
        "--scratch", metavar="LOG", help="log of the subnet's training from scratch (default: one of that name)"
    )
    retraining.add_argument("--retrained", metavar="LOG", help="log of its retraining (default: one of that name)")


def outputs(args: argparse.Namespace) -> list[Path]:
    """Returns what the verb writes, but for pictures."""
    file = Path(args.output or Path(args.folder) / ("retraining.json" if args.retrain else "report.html"))
    return [file] if args.retrain else [file, file.with_suffix(".md")]


def run(args: argparse.Namespace) -> None:
    """Writes the page, or prints the comparison."""
    import fairseq_mos
    from fairseq_mos.errors import UserError, one_line
    from fairseq_mos.files import check_folder, check_unread
    from fairseq_mos.report.document import check_output, write
    from fairseq_mos.report.logs import read_log
    from fairseq_mos.tables import write_json

    if bool(args.scratch) != bool(args.retrained):
        raise UserError("--scratch and --retrained belong together")
    output = outputs(args)[0]
    ending, mode = (".json", "with") if args.retrain else (".html", "without")
    if output.suffix != ending:
        raise UserError(f"--output {output}: {mode} --retrain, expected a file that ends in {ending}")
    given = (read_log(args.scratch, "from scratch"), read_log(args.retrained, "retrained")) if args.scratch else None
    fairseq_mos.register()
    from fairseq_mos.report.content import build, find_pair
    from fairseq_mos.report.discover import discover
    from fairseq_mos.report.retraining import compare

    run = None if given and args.retrain else discover(args.folder, args.supernet)
    check_unread(outputs(args), run.read if run else [])
    if args.retrain:
        pair = given or find_pair(run)
        if pair is None:
            raise UserError(f"{args.folder} has no logs named *scratch* and *retrain*: give --scratch and --retrained")
        found = compare(*pair)
        check_folder(output.parent)
        write_json(output, found.to_dict())
        print("\n".join(found.sentences()))
        wrote = [output]
    else:
        check_output(output.with_suffix(""))
        try:
            document = build(run, args.title, given)
        except ImportError as error:
            raise UserError('the report needs matplotlib: pip install "fairseq-mos[plot]"') from error
        wrote = write(document, output.with_suffix(""))
    for reason in run.left_out if run else ():
        print(f"left out: {one_line(reason)}")
    print(one_line(f"wrote {', '.join(map(str, wrote))}"))
