"""Do all ways to run an extracted subnet translate alike, and how fast is each?

    python examples/benchmark/routes.py --path subnet.pt --test test.en --threads 2

The subnet is exported in every format; each translates the same sentences greedily and with beam search, in turn
(A B C ... A B C ...), and is compared with what fairseq-generate prints. Writes a table, JSON and CSV.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

REFERENCE = "hub, checkpoint"
Translate = Callable[[Sequence[str], int], "list[str]"]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the flags."""
    from fairseq_mos import ranges

    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--path", required=True, help="extracted subnet, dictionaries and sentencepiece model beside it"
    )
    parser.add_argument("--test", required=True, help="raw source text, one sentence a line")
    parser.add_argument("--sentences", type=ranges.COUNT, default=100, help="how many of its lines")
    parser.add_argument("--beam", type=ranges.BEAM, default=5, help="beam size, besides greedy search")
    parser.add_argument("--max-tokens", type=ranges.TOKENS, default=4096, help="source tokens of a batch")
    parser.add_argument("--threads", type=ranges.THREADS, default=2, help="CPU threads")
    parser.add_argument("--runs", type=ranges.COUNT, default=5, help="timed rounds")
    parser.add_argument("--output", default="routes.json", help="JSON to write; a CSV lies beside it")
    return parser.parse_args(argv)


def with_hub(path: str, max_tokens: int, trust: bool = False) -> Translate:
    """Returns a translator through torch.hub's interface."""
    from fairseq_mos import hub

    interface = hub.load(path, max_tokens=max_tokens, trust=trust)
    return lambda lines, beam: interface.translate(list(lines), beam=beam)


def with_ctranslate2(folder: str, model: str, max_tokens: int, threads: int) -> Translate:
    """Returns a translator through CTranslate2 and sentencepiece."""
    import ctranslate2
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=model)
    translator = ctranslate2.Translator(folder, intra_threads=threads, inter_threads=1)

    def translate(lines: Sequence[str], beam: int) -> list[str]:
        tokens = pieces.encode(list(lines), out_type=str)
        found = translator.translate_batch(
            tokens, beam_size=beam, max_batch_size=max_tokens, batch_type="tokens", max_decoding_length=200
        )
        return [pieces.decode(result.hypotheses[0]) for result in found]

    return translate


def with_generate(path: str, lines: Sequence[str], beam: int, folder: Path, threads: int) -> list[str]:
    """Returns what fairseq-generate prints, through its command line."""
    from fairseq_mos import hub
    from fairseq_mos.generated import read_generated
    from fairseq_mos.models.opening import load_bundle

    bundle = load_bundle(path)
    source, target = bundle.data.languages
    interface = hub.of_bundle(bundle)
    encoded = "".join(interface.apply_bpe(line) + "\n" for line in lines)
    for language in bundle.data.languages:
        (folder / f"test.{language}").write_text(encoded, "utf-8")
    data = folder / "data-bin"
    environment = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    if not data.exists():
        _run(
            [
                "fairseq_cli.preprocess",
                "-s",
                source,
                "-t",
                target,
                "--testpref",
                str(folder / "test"),
                "--destdir",
                str(data),
            ]
            + ["--srcdict", str(bundle.data.dictionaries[0]), "--tgtdict", str(bundle.data.dictionaries[1])],
            environment,
        )
    printed = _run(
        ["fairseq_cli.generate", str(data), "--user-dir", str(ROOT / "fairseq_mos"), "--path", path, "--cpu"]
        + ["--beam", str(beam), "--remove-bpe", "sentencepiece", "--num-workers", "0"],
        environment,
    )
    (folder / "generated.txt").write_text(printed, "utf-8")
    found = read_generated(folder / "generated.txt")
    return [found[index].hypothesis.strip() for index in range(len(lines))]


def _run(words: list[str], environment: dict[str, str]) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return done.stdout


def build_routes(args: argparse.Namespace, folder: Path) -> dict[str, Translate]:
    """Exports the subnet in every format and returns the translators by name."""
    from fairseq_mos.errors import UserError
    from fairseq_mos.export import shared_folder
    from fairseq_mos.families.translation import ct2, programs, stock
    from fairseq_mos.models.opening import load_bundle

    def bundle():
        return load_bundle(args.path)

    routes = {REFERENCE: with_hub(args.path, args.max_tokens)}
    shared_folder.write(bundle(), folder / "shared")
    routes["hub, safetensors"] = with_hub(str(folder / "shared"), args.max_tokens)
    try:
        stock.write(bundle(), folder / "stock" / "model.pt")
        routes["hub, stock transformer"] = with_hub(str(folder / "stock" / "model.pt"), args.max_tokens)
    except UserError as error:
        print(f"no stock transformer: {error}")
    programs.write(bundle(), folder / "programs")
    routes["hub, torch.export"] = with_hub(str(folder / "programs"), args.max_tokens, trust=True)
    model = str(bundle().data.subwords)
    for name, quantization in (("fp32", "float32"), ("int8", "int8")):
        try:
            ct2.write(bundle(), folder / name, quantization=quantization)
        except UserError as error:
            print(f"no CTranslate2: {error}")
            break
        routes[f"CTranslate2, {name}"] = with_ctranslate2(str(folder / name), model, args.max_tokens, args.threads)
    return routes


def main() -> None:
    """Compares and times."""
    args = parse()
    import torch

    import fairseq_mos

    fairseq_mos.register()
    logging.disable(logging.INFO)
    torch.set_num_threads(args.threads)
    lines = Path(args.test).read_text("utf-8").splitlines()[: args.sentences]
    with tempfile.TemporaryDirectory() as name:
        rows = measure(args, lines, Path(name))
    print(f"{'route':<24}{'greedy':>12}{'same':>12}{'beam ' + str(args.beam):>12}{'same':>12}")
    for row in rows:
        print(
            f"{row['route']:<24}{row['greedy_per_second']:>10.1f}/s{row['greedy_same']:>8} of {len(lines)}"
            f"{row['beam_per_second']:>10.1f}/s{row['beam_same']:>8} of {len(lines)}"
        )
    about = {"sentences": len(lines), "beam": args.beam, "threads": args.threads, "runs": args.runs}
    from fairseq_mos.cost.latency import device_name

    about.update(device=device_name("cpu"), torch=torch.__version__, path=Path(args.path).name)
    print("median sentences per second; same: translations equal to fairseq-generate's")
    Path(args.output).write_text(json.dumps({"about": about, "routes": rows}, indent=2) + "\n")
    with open(Path(args.output).with_suffix(".csv"), "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {args.output} and {Path(args.output).with_suffix('.csv')}")


def measure(args: argparse.Namespace, lines: Sequence[str], folder: Path) -> list[dict]:
    """Returns one row per route."""
    routes = build_routes(args, folder)
    kinds = {"greedy": 1, "beam": args.beam}
    expected = {kind: with_generate(args.path, lines, beam, folder, args.threads) for kind, beam in kinds.items()}
    seconds: dict = {(route, kind): [] for route in routes for kind in kinds}
    same = {}
    for run in range(args.runs + 1):
        for route, translate in routes.items():
            for kind, beam in kinds.items():
                begin = time.perf_counter()
                found = translate(lines, beam)
                # The first round warms up.
                if run:
                    seconds[route, kind].append(time.perf_counter() - begin)
                same[route, kind] = sum(a.strip() == b for a, b in zip(found, expected[kind]))
    return [
        {
            "route": route,
            **{f"{kind}_per_second": len(lines) / statistics.median(seconds[route, kind]) for kind in kinds},
            **{f"{kind}_same": same[route, kind] for kind in kinds},
            **{f"{kind}_ratio": _ratio(seconds, route, kind) for kind in kinds},
        }
        for route in routes
    ]


def _ratio(seconds: dict, route: str, kind: str) -> float:
    """Speed against the checkpoint's, median of the rounds."""
    return statistics.median(a / b for a, b in zip(seconds[REFERENCE, kind], seconds[route, kind]))


if __name__ == "__main__":
    main()
