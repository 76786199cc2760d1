#!/usr/bin/env python3
"""What does a training step of a supernet cost against dense networks of the same sizes?

    python examples/benchmark/train_step.py --setting wmt --tokens 480 --subnet smallest --threads 1

The reference is fairseq's own transformer of the subnet's dimensions, forward and backward into `.grad`; memory is the
last encoder layer and the q/k/v width the embed width, as there. `sandwich` is a whole update of three architectures
(the largest, the smallest and one between) against the sum of its three dense steps. Contestants alternate in one
process; ratios are medians over rounds, with quartiles.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

from alternating import alternate, machine, ratios, write

# Embed width, feed-forward width and decoder layers of the largest, of one between and of the smallest.
SETTINGS = {
    "wmt": {"layers": 6, "heads": 8, "vocabulary": 32768, "sizes": [(640, 3072, 6), (640, 2048, 3), (512, 1024, 1)]},
    "small": {"layers": 3, "heads": 4, "vocabulary": 8000, "sizes": [(192, 768, 3), (192, 512, 2), (128, 256, 1)]},
}
CONTESTANTS = {
    "shared": {"routing": "shared"},
    "layer": {"routing": "layer"},
    "neuron": {"routing": "neuron"},
    "modulation": {"routing": "shared", "modulation": "all"},
    "neuron, all": {"routing": "neuron", "expert_scope": "all"},
}
SUBNETS = ("largest", "between", "smallest")


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
    add("--plain", action="store_true", help="also the same supernets with gradients by autograd alone")
    add("--dropout", type=ranges.PROBABILITY, default=0.1, help="dropout of all models")
    add("--runs", type=ranges.COUNT, default=9, help="counted rounds, after one uncounted")
    add("--threads", type=ranges.THREADS, default=1, help="CPU threads")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where")
    add("--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="of parameters and activations")
    add("--output", type=Path, default=Path("."), metavar="FOLDER", help="where JSON and Markdown go")
    return parser.parse_args()


def search_space(setting: dict):
    """Returns a space that holds the setting's architectures."""
    from fairseq_mos.arch import SearchSpace

    widths, ffn, layers = (sorted(set(column), reverse=True) for column in zip(*setting["sizes"]))
    side = {"embed_dim": widths, "ffn_dims": ffn, "self_attention_heads": [setting["heads"]]}
    decoder = {"layers": layers, "cross_attention_heads": [setting["heads"]], "arbitrary_attention": [-1]}
    encoder = {**side, "layers": [setting["layers"]]}
    return SearchSpace.from_dict(
        {"name": "benchmark", "qkv_dim": "embed", "encoder": encoder, "decoder": {**side, **decoder}}
    )


def architectures(space, setting: dict) -> dict:
    """Returns the subnets by name."""
    from fairseq_mos.arch import Architecture

    found = {}
    for name, (width, ffn, layers) in zip(SUBNETS, setting["sizes"]):
        fields = space.largest().to_dict()
        for side, count in (("encoder", setting["layers"]), ("decoder", layers)):
            own = fields[side]
            own["embed_dim"] = width
            for key in (key for key, value in own.items() if isinstance(value, list)):
                own[key] = [ffn if key == "ffn_dims" else own[key][0]] * count
            if "layers" in own:
                own["layers"] = count
        found[name] = Architecture.from_dict(fields)
        space.validate(found[name])
    return found


def stock_model(setting: dict, size: tuple[int, int, int], task, dropout: float):
    """Builds fairseq's own transformer."""
    from fairseq.models.transformer import TransformerConfig, TransformerModelBase

    cfg = TransformerConfig()
    width, ffn, layers = size
    for stack, count in ((cfg.encoder, setting["layers"]), (cfg.decoder, layers)):
        stack.embed_dim, stack.ffn_embed_dim, stack.layers, stack.attention_heads = width, ffn, count, setting["heads"]
    cfg.decoder.input_dim = cfg.decoder.output_dim = width
    cfg.dropout, cfg.share_all_embeddings = dropout, True
    cfg.max_source_positions = cfg.max_target_positions = 1024
    return TransformerModelBase.build_model(cfg, task)


def supernet_model(space, task, dropout: float, **options):
    """Builds a supernet."""
    from fairseq_mos.models.config import MosTransformerConfig
    from fairseq_mos.models.mos_transformer import MosTransformer

    cfg = MosTransformerConfig(
        search_space_definition=space.to_json(), share_all_embeddings=True, dropout=dropout, **options
    )
    return MosTransformer.build_model(cfg, task)


def main() -> None:
    """Times the contestants."""
    args = parse_args()
    import torch
    from torch.nn import functional as F

    import fairseq_mos
    from fairseq_mos.families.translation.texts import made_up_dictionary
    from fairseq_mos.modules.in_place import gradients_in_place

    fairseq_mos.register()
    torch.set_num_threads(args.threads)
    setting = SETTINGS[args.setting]
    dictionary = made_up_dictionary(setting["vocabulary"])
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    like = {"device": args.device, "dtype": getattr(torch, args.dtype)}
    tokens = torch.randint(4, setting["vocabulary"], (max(1, args.tokens // 30), 30), device=args.device)
    lengths = torch.full((len(tokens),), 30, device=args.device)

    def step(model) -> None:
        logits, _ = model(tokens, lengths, tokens)
        F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten()).backward()

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
            step(model)

    def elastic(model) -> None:
        model.zero_grad()
        for name in trained:
            model.activate(known[name])
            step(model)

    def fast(model) -> None:
        with gradients_in_place():
            elastic(model)

    contestants = {"stock": dense}
    for name in args.contestants:
        options = CONTESTANTS[name]
        experts = {} if options["routing"] == "shared" else {"num_experts": args.num_experts}
        torch.manual_seed(1)
        model = supernet_model(space, task, args.dropout, **options, **experts).to(**like).train()
        contestants[name] = lambda model=model: fast(model)
        if args.plain:
            contestants[f"{name}, by autograd"] = lambda model=model: elastic(model)
    rows = ratios(alternate(contestants, args.runs, args.threads))
    write(
        args.output,
        f"train_step-{args.setting}-{args.tokens}-{args.subnet}-{args.threads}",
        f"A step of {args.subnet}, {tokens.numel()} tokens a side, sizes {args.setting}, {args.num_experts} experts",
        rows,
        {**machine(args.threads, args.device), "dtype": args.dtype},
    )


if __name__ == "__main__":
    main()
