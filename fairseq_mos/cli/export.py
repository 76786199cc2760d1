"""`fairseq-mos export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_mos import ranges
from fairseq_mos.formats import EXPORTERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("--path", required=True, help="extracted subnet, supernet, or a folder that export wrote")
    parser.add_argument("--architecture", help="of a supernet: YAML file, largest, smallest or random:SEED")
    parser.add_argument("--data", help="folder with dictionaries and subword model (default: beside the checkpoint)")
    parser.add_argument(
        "--tokenizer", metavar="NAME", help="fairseq's name of the tokenizer before the subwords, such as moses; kept"
    )
    parser.add_argument(
        "--format",
        required=True,
        choices=list(EXPORTERS),
        help="; ".join(f"{exporter.name}: {exporter.text}" for exporter in EXPORTERS.values()),
    )
    parser.add_argument("--output", required=True, help="folder to write; a file for fairseq and stock")
    for exporter in EXPORTERS.values():
        for name, default, text in exporter.options:
            parser.add_argument(f"--{name}", default=default, help=f"of {exporter.name}: {text}")
    check = parser.add_argument_group("check", "the export is loaded and must answer as the original does")
    check.add_argument("--test", metavar="FILE", help="raw source text (default: made-up sentences)")
    check.add_argument("--sentences", type=ranges.SENTENCES, default=100, help="sentences that are compared")
    check.add_argument("--no-check", action="store_true", help="do not compare anything")


def run(args: argparse.Namespace) -> int:
    """Exports and checks; exit code 1 where an answer in fp32 differs."""
    import fairseq_mos
    from fairseq_mos.errors import UserError

    exporter = EXPORTERS[args.format]
    for other in EXPORTERS.values():
        for name, default, _ in other.options:
            if other is not exporter and getattr(args, name) != default:
                raise UserError(f"--{name} {getattr(args, name)} is for --format {other.name}")
    options = {option.name: getattr(args, option.name) for option in exporter.options}
    exact = all(options[option.name] == option.default for option in exporter.options)
    fairseq_mos.register()
    from fairseq_mos.export import running
    from fairseq_mos.models.opening import load_bundle
    from fairseq_mos.segmentation import check_tokenizer

    bundle = load_bundle(args.path, args.architecture, args.data)
    if args.tokenizer:
        bundle = bundle.with_tokenizer(check_tokenizer(args.tokenizer))
    check, probe = None, bundle.family.probe()
    if not args.no_check:
        sentences = probe.read_sentences(bundle, args.test, args.sentences)
        expected = probe.run(bundle, sentences)

        def check(new: Path) -> None:
            verdict = probe.compare(expected, running.run(exporter, bundle.family, new, sentences))
            print(f"checked: {verdict}")
            if verdict.differing and exact:
                raise _DiffersError(f"sentence {verdict.differing[0] + 1} is the first that differs")

    try:
        wrote = exporter.write(bundle, args.output, check, **options)
    except _DiffersError as error:
        print(f"{error}: nothing was written")
        return 1
    print(f"wrote {', '.join(map(str, wrote))}")
    return 0


class _DiffersError(Exception):
    """The export does not answer as the original does."""
