"""A tiny pretrained roberta of fairseq's own, and GLUE files in the published columns."""

from __future__ import annotations

import logging
import random
import runpy
import sys
from argparse import Namespace
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models.roberta import RobertaModel
from omegaconf import OmegaConf

from fairseq_mos.export.checkpoint import write_checkpoint
from fairseq_mos.families.masked_lm.texts import task_with
from fairseq_mos.models.masked_lm_config import MosRobertaSubnetConfig
from fairseq_mos.models.mos_roberta_subnet import MosRobertaSubnet
from tests.families.masked_lm import kit

WORDS = [f"w{number}" for number in range(30)]
POSITIONS = 24


def dictionary(folder: Path) -> Path:
    """Writes the dictionary."""
    path = folder / "dict.txt"
    path.write_text("".join(f"{word} 1\n" for word in WORDS))
    return path


def roberta(folder: Path, seed: int = 1, width: int = 16, name: str = "pretrained.pt") -> Path:
    """Writes a checkpoint of a random `roberta`, with the options that fairseq's own training leaves in one."""
    sizes = {"encoder_layers": 1, "encoder_embed_dim": width, "encoder_ffn_embed_dim": 2 * width}
    args = Namespace(arch="roberta", _name="roberta", encoder_attention_heads=2, max_positions=POSITIONS, **sizes)
    torch.manual_seed(seed)
    model = RobertaModel.build_model(args, task_with(_symbols(folder), POSITIONS))
    return _write(folder / name, model, vars(args))


def subnet(folder: Path, bottlenecks: str, name: str) -> Path:
    """Writes a checkpoint of a random `mos_roberta_subnet` with bottlenecks, `merged` or `apart`."""
    arch = kit.space(bottlenecks=True).smallest()
    cfg = MosRobertaSubnetConfig(
        architecture_definition=arch.to_json(), max_positions=POSITIONS, bottlenecks=bottlenecks, layer_norm_eps=1e-12
    )
    torch.manual_seed(2)
    model = MosRobertaSubnet.build_model(cfg, task_with(_symbols(folder), POSITIONS))
    options = OmegaConf.to_container(OmegaConf.structured(cfg), enum_to_str=True)
    return _write(folder / name, model, {**options, "_name": "mos_roberta_subnet"})


def _symbols(folder: Path) -> Dictionary:
    found = Dictionary.load(str(dictionary(folder)))
    found.add_symbol("<mask>")
    return found


def _write(path: Path, model: torch.nn.Module, options: dict) -> Path:
    plain = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), enum_to_str=True, resolve=True)
    write_checkpoint(path, model, {**plain, "model": options, "task": {"_name": "masked_lm", "data": ""}})
    return path


def sentences(number: int, words: Sequence[str], seed: int) -> list[str]:
    """Made-up sentences."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(number)]


def write_sst(folder: Path, train: int = 30, dev: int = 11, words: Sequence[str] = WORDS) -> None:
    """Writes SST-2 whose classes have words of their own: they can be learned."""
    for name, number, seed in (("train", train, 1), ("dev", dev, 2)):
        halves = sentences(number, words[:15], seed), sentences(number, words[15:], seed + 10)
        lines = [f"{halves[place % 2][place]} \t{place % 2}" for place in range(number)]
        write(folder / "SST-2" / f"{name}.tsv", ["sentence\tlabel", *lines])


def write_sts(folder: Path, train: int = 12, dev: int = 7, words: Sequence[str] = WORDS) -> None:
    """Writes the STS benchmark's own files, without a line of names; the third line ends with a licence."""
    for name, number, seed in (("sts-train", train, 3), ("sts-dev", dev, 4)):
        first, second = sentences(number, words, seed), sentences(number, words, seed + 10)
        draw = random.Random(seed)
        lines = [
            f"genre\tfile\t2012\t{place:04}\t{draw.uniform(0, 5):.3f}\t{a}\t{b}" + "\tlicence" * (place == 2)
            for place, (a, b) in enumerate(zip(first, second))
        ]
        write(folder / "STS-B" / f"{name}.tsv", lines)


def write_pairs(folder: Path, task: str, labels: tuple[str, ...], number: int = 9) -> None:
    """Writes a task of pairs: `MRPC`, `MNLI` or `RTE`, with the published columns."""
    heads = {
        "MRPC": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{label}\t1\t2\t{a}\t{b}"),
        "MNLI": ("index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label", "{n}\tx\t{a}\t{b}\tx\t{label}"),
        "RTE": ("index\tsentence1\tsentence2\tlabel", "{n}\t{a}\t{b}\t{label}"),
    }
    head, line = heads[task]
    files = ("train", "dev_matched", "dev_mismatched") if task == "MNLI" else ("train", "dev")
    for seed, name in enumerate(files, 5):
        first, second = sentences(number, WORDS, seed), sentences(number, WORDS, seed + 10)
        lines = [
            line.format(n=n, a=a, b=b, label=labels[n % len(labels)]) for n, (a, b) in enumerate(zip(first, second))
        ]
        write(folder / task / f"{name}.tsv", [head, *lines])


def write(path: Path, lines: list[str]) -> None:
    """Writes lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def forked(module: str, arguments: list[str], log: Path, threads: int, **unused) -> None:
    """Runs a command as `pipeline.commands.run` does, in a fork of this process: nothing is imported anew."""
    from pipeline.config import PipelineError

    process = get_context("fork").Process(target=_command, args=(module, arguments, log))
    process.start()
    process.join()
    if process.exitcode:
        text = log.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if "error: " in line] or [text[-2000:]]
        raise PipelineError(f"{module} failed: {lines[-1]}; log: {log}", 2 if process.exitcode == 2 else 1)


def _command(module: str, arguments: list[str], log: Path) -> None:
    import importlib
    import os

    torch.set_num_threads(1)
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    # What the tests have set up for this process is not how a command of its own logs.
    logging.disable(logging.NOTSET)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, force=True)
    sys.argv = [module, *map(str, arguments)]
    os.chdir(Path(__file__).resolve().parent.parent)
    try:
        if module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
            importlib.import_module(module).cli_main()
    except Exception:
        # As at the end of a process of its own: it says one line and exits with 2, for mistakes of the user.
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
