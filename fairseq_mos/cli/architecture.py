"""`fairseq-mos architecture`."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--search-space", help="name of a shipped search space, or a YAML file")
    source.add_argument("--path", help="supernet checkpoint, for its search space")
    parser.add_argument(
        "--architecture",
        default="largest",
        help="largest, smallest, random:SEED, or a YAML file to check against the space",
    )
    parser.add_argument("--output", help="YAML file to write (default: standard output)")


def run(args: argparse.Namespace) -> None:
    """Writes one architecture of a space as YAML."""
    import yaml

    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.arch.select import resolve

    if args.path:
        import fairseq_mos
        from fairseq_mos.models.opening import open_model

        fairseq_mos.register()
        space = open_model(args.path).space
    else:
        space = SearchSpace.load(args.search_space)
    architecture = resolve(space, args.architecture)
    if args.output:
        architecture.save(args.output)
        print(f"wrote {args.output} ({args.architecture} of search space {space.name!r})")
    else:
        yaml.safe_dump(architecture.to_dict(), sys.stdout, sort_keys=False, default_flow_style=None)
