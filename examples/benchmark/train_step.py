#!/usr/bin/env python3
"""Cost of a training step (forward and backward) of the supernet's largest subnet against stock fairseq.

Both models have the same dimensions, memory (last encoder layer) and q/k/v width (embed width), and see the
same batch. They are timed in turn, A B A B, in one process; the ratio of each pair and their median count.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    routings = ["shared", "layer", "neuron"]
    parser.add_argument("--routings", nargs="+", default=routings, help="routings to time")
    parser.add_argument("--num-experts", type=ranges.COUNT, default=2, help="experts")
    parser.add_argument("--embed-dim", type=ranges.COUNT, default=512, help="embed width of both stacks")
    parser.add_argument("--ffn-dim", type=ranges.COUNT, default=2048, help="feed-forward width")
    parser.add_argument("--layers", type=ranges.COUNT, default=6, help="layers of each stack")
    parser.add_argument("--heads", type=ranges.COUNT, default=8, help="attention heads")
    parser.add_argument("--vocabulary", type=ranges.COUNT, default=8000, help="words of the joined dictionary")
    parser.add_argument("--sentences", type=ranges.COUNT, default=120, help="sentences of the batch")
    parser.add_argument("--length", type=ranges.COUNT, default=25, help="tokens of every source and target sentence")
    parser.add_argument("--dropout", type=ranges.PROBABILITY, default=0.1, help="dropout of both models")
    parser.add_argument("--runs", type=ranges.COUNT, default=7, help="counted pairs per routing, after one uncounted")
    parser.add_argument("--threads", type=ranges.THREADS, default=2, help="CPU threads")
    parser.add_argument("--json", help="also write the results to this file")
    return parser.parse_args()


def main() -> None:
    """Times every routing against the stock model."""
    args = parse_args()
    import torch
    from fairseq.models.transformer import TransformerConfig, TransformerModelBase

    import fairseq_mos
    from fairseq_mos.arch import SearchSpace
    from fairseq_mos.families.translation.texts import made_up_dictionary
    from fairseq_mos.files import atomic_write
    from fairseq_mos.models.config import MosTransformerConfig
    from fairseq_mos.models.mos_transformer import MosTransformer

    torch.set_num_threads(args.threads)
    dictionary = made_up_dictionary(args.vocabulary)
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)

    side = {
        "embed_dim": [args.embed_dim, args.embed_dim // 2],
        "layers": [args.layers],
        "ffn_dims": [args.ffn_dim, args.ffn_dim // 2],
        "self_attention_heads": [args.heads],
    }
    space = SearchSpace.from_dict(
        {
            "name": "benchmark",
            "qkv_dim": "embed",
            "encoder": side,
            "decoder": {**side, "cross_attention_heads": [args.heads], "arbitrary_attention": [-1]},
        }
    )

    stock_cfg = TransformerConfig()
    for stack in (stock_cfg.encoder, stock_cfg.decoder):
        stack.embed_dim, stack.ffn_embed_dim = args.embed_dim, args.ffn_dim
        stack.layers, stack.attention_heads = args.layers, args.heads
    stock_cfg.decoder.input_dim = stock_cfg.decoder.output_dim = args.embed_dim
    stock_cfg.dropout, stock_cfg.share_all_embeddings = args.dropout, True
    stock_cfg.max_source_positions = stock_cfg.max_target_positions = 1024
    torch.manual_seed(1)
    stock = TransformerModelBase.build_model(stock_cfg, task).train()

    tokens = torch.randint(4, args.vocabulary, (args.sentences, args.length))
    lengths = torch.full((args.sentences,), args.length)

    def step(model) -> float:
        model.zero_grad()
        start = time.perf_counter()
        logits, _ = model(tokens, lengths, tokens)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        loss.backward()
        return time.perf_counter() - start

    results = []
    for routing in args.routings:
        cfg = MosTransformerConfig(
            routing=routing,
            num_experts=args.num_experts,
            search_space_definition=space.to_json(),
            share_all_embeddings=True,
            dropout=args.dropout,
        )
        torch.manual_seed(1)
        supernet = MosTransformer.build_model(cfg, task).train()
        supernet.activate(space.largest())
        step(supernet), step(stock)
        pairs = [(step(supernet), step(stock)) for _ in range(args.runs)]
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        row = {
            "routing": routing,
            "experts": args.num_experts if routing != "shared" else 1,
            "supernet_s": statistics.median(ours for ours, _ in pairs),
            "stock_s": statistics.median(theirs for _, theirs in pairs),
            "ratio": statistics.median(ratios),
            "ratio_min": ratios[0],
            "ratio_max": ratios[-1],
        }
        results.append(row)
        print(
            f"{routing:>7}, {row['experts']} experts: {row['supernet_s']:.3f} s against "
            f"{row['stock_s']:.3f} s (medians of {args.runs}); ratio {row['ratio']:.3f} "
            f"(from {ratios[0]:.3f} to {ratios[-1]:.3f})",
            flush=True,
        )
    report = {
        "tokens": args.sentences * args.length,
        "sizes": {k: v for k, v in vars(args).items() if k not in ("json", "routings")},
        "device": f"cpu ({platform.machine()}), {args.threads} threads, fp32",
        "torch": torch.__version__,
        "fairseq_mos": getattr(fairseq_mos, "__version__", None),
        "results": results,
    }
    if args.json:
        with atomic_write(args.json) as stream:
            json.dump(report, stream, indent=2)
    print(f"{report['tokens']} tokens a side, {report['device']}, torch {report['torch']}")


if __name__ == "__main__":
    main()
