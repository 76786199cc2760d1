"""`fairseq-mos corpus`."""

from __future__ import annotations

import argparse

from fairseq_mos import ranges


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument(
        "--inputs", required=True, nargs="+", help="what fairseq-generate printed; several files are its shards"
    )
    parser.add_argument("--output", required=True, help="PREFIX of PREFIX.SOURCE_LANG and PREFIX.TARGET_LANG")
    parser.add_argument("--source-lang", required=True, help="source language code")
    parser.add_argument("--target-lang", required=True, help="target language code")
    parser.add_argument(
        "--max-length", type=ranges.LENGTH, default=200, help="leave out hypotheses of more tokens, as printed"
    )
    parser.add_argument(
        "--post-process",
        choices=("sentencepiece", "subword_nmt"),
        help="rejoin subwords of this kind (default: text stays segmented, for fairseq-preprocess)",
    )


def outputs(args: argparse.Namespace) -> list[str]:
    """What it writes."""
    return [f"{args.output}.{language}" for language in (args.source_lang, args.target_lang)]


def run(args: argparse.Namespace) -> None:
    """Writes the corpus and says what was left out."""
    from fairseq_mos.errors import UserError
    from fairseq_mos.generated import read_generated, write_corpus

    files = outputs(args)
    if files[0] == files[1]:
        raise UserError(f"--source-lang and --target-lang are both {args.source_lang}")
    generated = read_generated(*args.inputs)
    counts = write_corpus(generated, files, args.max_length, args.post_process)
    print(
        f"wrote {files[0]} and {files[1]}: {counts['kept']:,} of {max(generated) + 1:,} sentences; left out: "
        f"{counts['empty']:,} empty, {counts['long']:,} of more than {args.max_length} tokens, {counts['missing']:,} "
        "that were not translated"
    )
