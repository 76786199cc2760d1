#!/usr/bin/env python3
"""What does a training step of a supernet cost against dense networks of the same sizes?

    python examples/benchmark/train_step.py --setting wmt --tokens 480 --subnet smallest --threads 1

The reference is fairseq's own transformer of the subnet's dimensions, forward and backward into `.grad`; memory is the
last encoder layer and the q/k/v width the embed width, as there. The loss is what `fairseq-train` uses, for supernets
the plugin's label-smoothed one, for fairseq's model fairseq's; `--loss cross-entropy` is torch's for all, so that the
networks alone are compared. `sandwich` is a whole update of three architectures (the largest, the smallest and one
between) against the sum of its three dense steps. Contestants alternate in one process; ratios are medians over rounds,
with quartiles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alternating import alternate, begin, machine, ratios, write
from networks import (
    CONTESTANTS,
    SETTINGS,
    SUBNETS,
    architectures,
    made_up_task,
    search_space,
    stock_model,
    supernet_model,
)


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--setting", choices=SETTINGS, default="wmt", help="sizes: WMT's of HAT, or small ones")
    add("--subnet", choices=[*SUBNETS, "sandwich"], default="largest", help="what a step trains")
    default = ["shared", "layer", "neuron", "modulation"]
    add("--contestants", nargs="+", choices=CONTESTANTS, default=default, help="supernets")
    add("--num-experts", type=ranges.COUNT, default=2, help="experts")
    add("--tokens", type=ranges.COUNT, default=480, help="tokens of a side of the batch, 30 a sentence")
    add("--loss", choices=["criterion", "cross-entropy"], default="criterion", help="each side's own, or torch's")
    add("--plain", action="store_true", help="also the same supernets with gradients by autograd alone")
    add("--fused", action="store_true", help="also the same supernets with kernels of torch.compile (--fused-mixing)")
    add("--dropout", type=ranges.PROBABILITY, default=0.1, help="dropout of all models")
    add("--runs", type=ranges.COUNT, default=9, help="counted rounds, after one uncounted")
    add("--threads", type=ranges.THREADS, default=1, help="CPU threads")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where")
    add("--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="of parameters and activations")
    add("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    return parser.parse_args()


def of_fairseq(logits, targets):
    """Returns what fairseq's `label_smoothed_cross_entropy` makes of logits."""
    import torch
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
    from torch.nn import functional as F

    lprobs = F.log_softmax(logits, dim=-1, dtype=torch.float32)
    return label_smoothed_nll_loss(lprobs, targets, 0.1, ignore_index=1)[0]


def of_plugin(logits, targets):
    """Returns what `supernet_label_smoothed_cross_entropy` makes of them."""
    from fairseq_mos.criterions.smoothed import label_smoothed_loss

    return label_smoothed_loss(logits, targets, 0.1, padding_idx=1)[0]


def main() -> None:
    """Times the contestants."""
    args = parse_args()
    import torch
    from torch.nn import functional as F

    from fairseq_mos.modules.in_place import gradients_in_place
    from fairseq_mos.modules.mixing import PLAIN, fused

    begin(args.threads)
    setting = SETTINGS[args.setting]
    task = made_up_task(setting)
    like = {"device": args.device, "dtype": getattr(torch, args.dtype)}
    tokens = torch.randint(4, setting["vocabulary"], (max(1, args.tokens // 30), 30), device=args.device)
    lengths = torch.full((len(tokens),), 30, device=args.device)

    def step(model, loss) -> None:
        logits, _ = model(tokens, lengths, tokens)
        loss(logits.flatten(0, 1), tokens.flatten()).backward()

    losses = {True: of_fairseq, False: of_plugin}
    if args.loss == "cross-entropy":
        losses = dict.fromkeys(losses, lambda logits, targets: F.cross_entropy(logits.float(), targets))

    space = search_space(setting)
    known = architectures(space, setting)
    trained = list(SUBNETS) if args.subnet == "sandwich" else [args.subnet]
    stocks = []
    for name in trained:
        torch.manual_seed(1)
        model = stock_model(setting, setting["sizes"][SUBNETS.index(name)], task, args.dropout)
        stocks.append(model.to(**like).train())

    def dense() -> None:
        for model in stocks:
            model.zero_grad()
            step(model, losses[True])

    def elastic(model) -> None:
        model.zero_grad()
        for name in trained:
            model.activate(known[name])
            step(model, losses[False])

    def fast(model, kernels=PLAIN) -> None:
        with gradients_in_place(kernels):
            elastic(model)

    contestants = {"stock": dense}
    for name in args.contestants:
        torch.manual_seed(1)
        model = supernet_model(name, space, task, args.dropout, args.num_experts).to(**like).train()
        contestants[name] = lambda model=model: fast(model)
        if args.plain:
            contestants[f"{name}, by autograd"] = lambda model=model: elastic(model)
        if args.fused:
            contestants[f"{name}, fused"] = lambda model=model: fast(model, fused(args.device))
    rows = ratios(alternate(contestants, args.runs, args.threads, args.device))
    write(
        args.output,
        f"train_step-{args.setting}-{args.tokens}-{args.subnet}-{args.threads}-{args.loss}",
        f"A step of {args.subnet}, {tokens.numel()} tokens a side, sizes {args.setting}, {args.num_experts} experts",
        rows,
        {**machine(args.threads, args.device), "dtype": args.dtype, "loss": args.loss},
    )


if __name__ == "__main__":
    main()
