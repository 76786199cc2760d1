"""`fairseq-mos extract`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument("--path", required=True, help="supernet checkpoint (may be an averaged one)")
    parser.add_argument("--architecture", required=True, help="YAML file, largest, smallest or random:SEED")
    parser.add_argument("--output", required=True, help="checkpoint to write; the dictionaries are copied beside it")
    parser.add_argument(
        "--data",
        help="folder with the dictionaries (default: beside the supernet, else where it was trained)",
    )


def run(args: argparse.Namespace) -> None:
    """Extracts and prints both parameter counts."""
    import fairseq_mos
    from fairseq_mos.export.checkpoint import extract_checkpoint

    fairseq_mos.register()
    result = extract_checkpoint(args.path, args.architecture, args.output, args.data)
    print(f"supernet: {result.supernet_params:>13,} parameters ({result.space}, {result.routing} routing)")
    print(
        f"subnet:   {result.subnet_params:>13,} parameters, {result.subnet_params_no_embed:,} without "
        f"embeddings and output layer"
    )
    print(f"wrote {args.output} (architecture {result.digest}; dictionaries beside it)")
