"""`fairseq-mos profile`."""

from __future__ import annotations

import argparse

from fairseq_mos import ranges
from fairseq_mos.cli.flags import add_latency_flags, from_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--path", help="checkpoint: a supernet, an extracted subnet or fairseq's stock transformer")
    source.add_argument("--search-space", help="shipped search space or YAML file: a subnet with random weights")
    parser.add_argument(
        "--architecture", help="for a supernet or space: YAML file, largest, smallest or random:SEED (default: largest)"
    )
    parser.add_argument("--data", help="folder with the dictionaries (default: beside the checkpoint)")
    parser.add_argument(
        "--vocabulary", type=ranges.VOCABULARY, default=32768, help="entries of the dictionary, for --search-space"
    )
    parser.add_argument(
        "--share", choices=("all", "decoder", "none"), default="all", help="shared embeddings, for --search-space"
    )
    parser.add_argument("--output", help="file to write (.json), and the same as .csv beside it")
    parser.add_argument(
        "--memory",
        choices=("estimate", "measure"),
        help="peak memory of a training update and of decoding, in fp32: estimate needs neither the memory nor a GPU; "
        "measure also runs both on --device",
    )
    parser.add_argument(
        "--max-tokens", type=ranges.TOKENS, default=4096, help="tokens of a training batch, for --memory"
    )
    parser.add_argument(
        "--latency", action="store_true", help="also measure latency on this machine (implied by --protocol generate)"
    )
    parser.add_argument("--gen-subset", default="test", help="split of --data to translate, for --protocol generate")
    parser.add_argument(
        "--sentences", type=ranges.SENTENCES, default=20, help="how many of its sentences, for --protocol generate"
    )
    add_latency_flags(parser, runs=300)


def outputs(args: argparse.Namespace) -> list[str]:
    """Returns what the verb writes."""
    return [args.output, f"{args.output.removesuffix('.json')}.csv"]


def run(args: argparse.Namespace) -> None:
    """Counts, measures, prints a table."""
    import fairseq_mos
    from fairseq_mos import tables
    from fairseq_mos.errors import printable

    if args.output:
        tables.check_ending(args.output, ".json")
    fairseq_mos.register()
    from fairseq_mos.cost.latency import LatencySettings

    settings = from_flags(LatencySettings, args)
    from fairseq_mos.cost import memory, profiling
    from fairseq_mos.families import family_of_model

    needs = None
    if args.memory:
        needs = memory.MemorySettings(args.source_tokens, args.target_tokens, args.beam, args.max_tokens)
    model, name = profiling.load_model(
        args.path, args.search_space, args.architecture, args.data, args.vocabulary, args.share
    )
    sentences = []
    if settings.protocol == "generate":
        sentences = family_of_model(model).sentences(model, args.data, args.gen_subset, args.sentences)
    row = {"model": name, **profiling.profile(model, args.source_tokens, args.target_tokens)}
    signature = profiling.signature(model, args.source_tokens, args.target_tokens)
    lines = [
        f"model:                {name}",
        f"parameters:           {row['params']:>15,}",
        f"without embeddings:   {row['params_no_embed']:>15,}  (and without the output layer)",
        f"FLOPs:                {row['flops']:>15,}  (2 x MACs, {args.source_tokens}/{args.target_tokens} tokens, "
        "without the output layer)",
        f"output layer:         {row['flops_output_layer']:>15,}  FLOPs",
    ]
    if needs is not None:
        lines += _memory(args, model, needs, row, signature)
    if args.latency or sentences:
        lines += _latency(args, model, settings, sentences, row, signature)
    lines.append(f"signature: {tables.signature_line(signature)}")
    row.update(signature)
    if args.output:
        file, table = outputs(args)
        tables.write_json(file, row)
        tables.write_csv(table, [row])
        lines.append(f"wrote {file} and {table}")
    print("\n".join(map(printable, lines)))


def _memory(args: argparse.Namespace, model, needs, row: dict, signature: dict) -> list[str]:
    """Adds peak memory to the row and the signature; returns lines to print."""
    from fairseq_mos.cost import memory
    from fairseq_mos.cost.latency import device_name

    signature.update(memory_beam=args.beam, memory_max_tokens=args.max_tokens)
    found = {"estimated": memory.estimate(model, needs)}
    if args.memory == "measure":
        found["measured"] = memory.measure(model, needs, args.device)
        signature["memory_device"] = device_name(args.device)
    lines = []
    for name, peak in found.items():
        row.update(peak.to_dict(name))
        lines += [
            f"{name + ' memory:':<22}{peak.training / 2**20:>15,.1f}  MiB training (an update with Adam "
            f"of {args.max_tokens:,} tokens, fp32)",
            f"{'':<22}{peak.decoding / 2**20:>15,.1f}  MiB decoding (one sentence, beam {args.beam}, fp32)",
        ]
    return lines


def _latency(args: argparse.Namespace, model, settings, sentences, row: dict, signature: dict) -> list[str]:
    """Adds latency to the row and the signature; returns lines to print."""
    from tqdm import tqdm

    from fairseq_mos.cost.latency import DRIFT, LatencyMeter

    meter = LatencyMeter(settings, sentences)
    with tqdm(total=settings.runs, unit="run", desc="measuring", dynamic_ncols=True, leave=False) as bar:
        found = meter.measure(model, bar.update)
    row.update(found.to_dict())
    signature.update({f"latency_{key}": value for key, value in settings.signature().items()})
    runs = f"median of {found.runs}"
    if sentences:
        signature.update(
            latency_data=args.data,
            latency_split=args.gen_subset,
            latency_sentences=len(sentences),
            latency_per="sentence",
        )
        runs += f", per sentence of {len(sentences)} of split {args.gen_subset!r}"
    runs += f"; quartiles {found.low_ms:.2f} to {found.high_ms:.2f}"
    lines = [f"latency:              {found.median_ms:>15.2f}  ms ({runs})"]
    if settings.protocol == "hat":
        lines.append(f"  encoder, decoder:   {found.encoder_ms:>15.2f}  ms, {found.decoder_ms:.2f} ms")
    if found.drift >= DRIFT or abs(found.trend) >= DRIFT:
        lines.append(
            f"the machine was not quiet: interleaved halves of the runs differ by {found.drift:.1%}, the last "
            f"third from the first by {found.trend:+.1%}; the interval was widened to cover both"
        )
    return lines
