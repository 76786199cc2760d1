"""`fairseq-mos export`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from fairseq_mos import ranges

FORMATS = {
    "safetensors": "a folder to share: weights, arch.json, dictionaries, subword model, model card",
    "fairseq": "a mos_subnet checkpoint, e.g. of a safetensors folder",
    "stock": "a checkpoint of fairseq's own transformer, which runs without this plugin",
    "torch-export": "programs of torch.export, with any batch size and length",
    "ctranslate2": "a folder for CTranslate2",
}


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
        choices=list(FORMATS),
        help="; ".join(f"{name}: {text}" for name, text in FORMATS.items()),
    )
    parser.add_argument("--output", required=True, help="folder to write; a file for fairseq and stock")
    parser.add_argument(
        "--quantization",
        default="float32",
        help="of ctranslate2: float32, int8, int8_float32, int16, float16 or bfloat16",
    )
    check = parser.add_argument_group("check", "the export is loaded and must translate as the original does")
    check.add_argument("--test", metavar="FILE", help="raw source text (default: made-up sentences)")
    check.add_argument("--sentences", type=ranges.SENTENCES, default=100, help="sentences to translate, greedily")
    check.add_argument("--no-check", action="store_true", help="do not translate anything")


def run(args: argparse.Namespace) -> int:
    """Exports and checks; exit code 1 where a translation in fp32 differs."""
    import fairseq_mos
    from fairseq_mos.errors import UserError

    if args.quantization != "float32" and args.format != "ctranslate2":
        raise UserError(f"--quantization {args.quantization} is for --format ctranslate2")
    fairseq_mos.register()
    from fairseq_mos import hub, verify
    from fairseq_mos.export.source import load_bundle

    bundle = load_bundle(args.path, args.architecture, args.data)
    if args.tokenizer:
        bundle = bundle.with_tokenizer(hub.check_tokenizer(args.tokenizer))
    check = None
    if not args.no_check:
        sentences = verify.read_sentences(bundle, args.test, args.sentences)
        expected = verify.with_fairseq(bundle, sentences)

        def check(new: Path) -> None:
            if args.format == "ctranslate2":
                found = verify.with_ctranslate2(new, sentences)
            else:
                # What was just written is ours to trust: it is the programs that are checked.
                found = verify.with_fairseq(load_bundle(new, trust=True), sentences)
            verdict = verify.compare(expected, found)
            print(f"checked: {verdict}")
            if verdict.differing and args.quantization == "float32":
                raise _DiffersError(f"sentence {verdict.differing[0] + 1} is the first that differs")

    try:
        wrote = _write(args, bundle, check)
    except _DiffersError as error:
        print(f"{error}: nothing was written")
        return 1
    print(f"wrote {', '.join(map(str, wrote))}")
    return 0


class _DiffersError(Exception):
    """The export does not translate as the original does."""


def _write(args: argparse.Namespace, bundle, check: Callable[[Path], None] | None) -> list[Path]:
    if args.format == "safetensors":
        from fairseq_mos.export import shared_folder

        return shared_folder.write(bundle, args.output, check)
    if args.format == "torch-export":
        from fairseq_mos.export import programs

        return programs.write(bundle, args.output, check)
    if args.format == "ctranslate2":
        from fairseq_mos.export import ct2

        return ct2.write(bundle, args.output, args.quantization, check)
    if args.format == "stock":
        from fairseq_mos.export import stock

        wrote, added = stock.write(bundle, args.output, check)
        if added > 0:
            print(f"the stock model has one size for all layers: padding added {added:,} zeros")
        return wrote
    from fairseq_mos.export import checkpoint

    return checkpoint.publish(args.output, bundle.model, bundle.config, bundle.files(), check=check)
