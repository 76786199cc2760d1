"""`fairseq-mos average`."""

from __future__ import annotations

import argparse

from fairseq_mos import ranges


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    parser.add_argument(
        "--inputs", required=True, nargs="+", help="checkpoints, or one folder together with a number below"
    )
    parser.add_argument("--output", required=True, help="checkpoint to write")
    number = parser.add_mutually_exclusive_group()
    number.add_argument(
        "--num-epoch-checkpoints", type=ranges.COUNT, help="the last N checkpointE.pt of the folder"
    )
    number.add_argument(
        "--num-update-checkpoints", type=ranges.COUNT, help="the last N checkpoint_E_U.pt of the folder"
    )
    parser.add_argument(
        "--checkpoint-upper-bound", type=ranges.UPDATES, help="ignore epochs (or updates) above this number"
    )
    parser.add_argument(
        "--checkpoint-suffix", help="what stands before .pt in the folder, as given to fairseq-train (default: found)"
    )


def run(args: argparse.Namespace) -> None:
    """Averages and names the inputs."""
    import fairseq_mos
    from fairseq_mos.errors import UserError
    from fairseq_mos.models.averaging import average_checkpoints, last_checkpoints

    fairseq_mos.register()
    inputs = args.inputs
    by_update = args.num_update_checkpoints is not None
    number = args.num_update_checkpoints if by_update else args.num_epoch_checkpoints
    if number is not None:
        if len(inputs) != 1:
            raise UserError("--inputs takes one folder with --num-epoch- or --num-update-checkpoints")
        inputs = last_checkpoints(inputs[0], number, by_update, args.checkpoint_upper_bound, args.checkpoint_suffix)
    average_checkpoints(inputs, args.output)
    print(f"wrote {args.output}, the average of {len(inputs)}: {', '.join(map(str, inputs))}")
