"""The published training recipes as fairseq-train's flags. Standard library only.

python -m corpora.training NAME STAGE FLAGS...           see examples/wmt14_en_de/train.sh --help
python -m corpora.training --check NAME STAGE FLAGS...   checks the flags alone: exit code 0 or 2
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.arguments import OneLineParser, natural
from pipeline.config import EXAMPLES, ROOT

from corpora.recipes import MAX_PIECES, RECIPES

STAGES = {
    "supernet": "the supernet",
    "scratch": "a subnet from scratch, for comparison",
    "retrain": "a subnet that starts from the weights that it inherits from the supernet",
}
ROUTINGS = ("shared", "global", "layer", "neuron")
PUBLISHED, OWN_BATCHES = HOWS = ("published", "own-batches")
"""How a supernet and its subnets are trained."""

_RECIPE_HELP = """published: the papers' hyper-parameters; own-batches: batches of their own for the architectures of an
update, with three times the updates as much work, and pre-norm (docs/evidence.md: the best at small scale, not tried at
this one); say the same at all stages"""


@dataclass(frozen=True)
class Optimisation:
    """What differs between the data sets (FACTS B; HAT, section 4.1; MoS, appendix).

    Attributes:
        arch: named architecture of the supernet.
        tokens: tokens of one GPU's batch.
        batch: tokens of an update: of all GPUs and accumulated batches together.
        updates: of a supernet, and of a subnet from scratch.
        flags: everything else but warm-up and learning rate.
        schedule: learning rate schedule.
        lr: its peak.
        own: architectures of an update, where each has batches of its own.
    """

    arch: str
    tokens: int
    batch: int
    updates: int
    flags: tuple[str, ...]
    schedule: tuple[str, ...]
    lr: float
    own: int


_ADAM = ("--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-08")
_WMT_FLAGS = (*_ADAM, "--weight-decay", "0.0", "--clip-norm", "0.0", "--dropout", "0.3", "--attention-dropout", "0.1",
              "--share-all-embeddings")  # fmt: skip
_COSINE = ("--lr-scheduler", "cosine", "--warmup-init-lr", "1e-07", "--min-lr", "1e-07")


def _wmt(arch: str) -> Optimisation:
    return Optimisation(arch, 4096, 4096 * 128, 40_000, _WMT_FLAGS, _COSINE, 1e-3, 16)


RECIPES_OF_TRAINING = {
    "wmt14_en_de": _wmt("mos_transformer_wmt_en_de"),
    "wmt14_en_fr": _wmt("mos_transformer_wmt_en_fr"),
    "wmt19_en_de": _wmt("mos_transformer_wmt_en_de"),
    "iwslt14_de_en": Optimisation(
        "mos_transformer_iwslt_de_en",
        4096,
        4096,
        50_000,
        (*_ADAM, "--weight-decay", "0.0001", "--clip-norm", "25.0", "--dropout", "0.375", "--attention-dropout", "0.0"),
        ("--lr-scheduler", "inverse_sqrt", "--warmup-init-lr", "1e-07"),
        5e-4,
        4,
    ),
}


def train_flags(
    name: str,
    stage: str,
    data: str,
    save_dir: str,
    gpus: int = 8,
    routing: str = "neuron",
    subnet: str = "search/best.yaml",
    weights: str = "subnet/model.pt",
    user_dir: str = str(ROOT / "fairseq_mos"),
    how: str = PUBLISHED,
) -> list[str]:
    """Returns the arguments of fairseq-train.

    Args:
        name: of the recipe.
        stage: one of :data:`STAGES`.
        data: binarised data.
        save_dir: folder for checkpoints.
        gpus: GPUs of all nodes together; the batch of an update stays the same.
        routing: how the supernet mixes experts.
        subnet: architecture of the subnet.
        weights: extracted subnet that is retrained.
        user_dir: folder of the plugin.
        how: one of :data:`HOWS`. With batches of their own three times the updates are as much work as three
            architectures on all batches; networks are in pre-norm, and the rate ends at 0 (docs/evidence.md).
    """
    recipe, o = RECIPES[name], RECIPES_OF_TRAINING[name]
    own = how == OWN_BATCHES
    per_gpu = min(o.tokens, o.batch // max(gpus, o.own if own and stage == "supernet" else 1))
    updates, lr, warmup = o.updates, o.lr, 10_000 if stage == "supernet" else 4_000
    if stage == "supernet":
        experts = "1" if routing == "shared" else "2"
        kind = ["--task", "supernet_translation", "--arch", o.arch, "--routing", routing, "--num-experts", experts]
        kind += ["--criterion", "supernet_label_smoothed_cross_entropy"]
        if own:
            kind += ["--arch-own-batches", "--num-random-archs", str(o.own - 2)]
            updates *= 3
    else:
        kind = ["--task", "translation", "--arch", "mos_subnet", "--subnet", subnet]
        kind += ["--criterion", "label_smoothed_cross_entropy"]
    if stage == "retrain":
        # Ours, found on Multi30k: a third of the peak, a short warm-up, two fifths of the updates.
        updates, lr, warmup = o.updates * 2 // 5, o.lr / 3, 1_000
        kind += ["--finetune-from-model", weights]
    return [
        data,
        *("--user-dir", user_dir, "--source-lang", recipe.source_lang, "--target-lang", recipe.target_lang),
        *kind,
        *("--label-smoothing", "0.1"),
        *o.flags,
        *(("--encoder-normalize-before", "--decoder-normalize-before") if own else ()),
        *(_COSINE if own else o.schedule),
        *("--lr", f"{lr:.3g}", "--warmup-updates", str(warmup), "--max-update", str(updates)),
        *("--max-tokens", str(per_gpu), "--update-freq", str(max(1, o.batch // (per_gpu * gpus)))),
        *("--fp16", "--seed", "1", "--save-dir", save_dir, "--save-interval-updates", "1000"),
        *("--keep-interval-updates", "10", "--no-epoch-checkpoints", "--log-format", "simple", "--log-interval", "100"),
    ]


def launch_command(flags: list[str], gpus: int, nodes: int, slurm: bool) -> str:
    """Returns the command that starts the training, without what keeps its log.

    Args:
        flags: arguments of fairseq-train.
        gpus: GPUs of all nodes together.
        nodes: how many nodes.
        slurm: through srun.
    """
    # Without it fairseq takes the GPUs of its own node for all, and with one a node trains alone.
    train = "fairseq-train " + shlex.join([*flags, "--distributed-world-size", str(gpus)])
    if slurm:
        tasks = f"--ntasks-per-node {gpus // nodes} --gpus-per-node {gpus // nodes}"
        return f"srun --nodes {nodes} {tasks} {train} --distributed-port 29500"
    if nodes == 1:
        return train
    return (
        f"torchrun --nnodes {nodes} --nproc-per-node {gpus // nodes} --rdzv-backend c10d --rdzv-endpoint "
        f"HOST_OF_THE_FIRST_NODE:29500 --no-python {train}"
    )


def logged(command: str, save_dir: str, stage: str) -> str:
    """Returns a command line that also adds what is printed to a log in the checkpoints' folder.

    `fairseq-mos report` looks for it by its name. fairseq's own --log-file leaves out what its lines are about.
    """
    log = shlex.quote(str(Path(save_dir) / f"train-{stage}.log"))
    return f"mkdir -p {shlex.quote(save_dir)} && {command} 2>&1 | tee -a {log}"


def _relative(path: Path) -> str:
    """Returns a path as people write it: short where they are in the repository's folder, else absolute."""
    return str(path.relative_to(ROOT)) if Path.cwd() == ROOT else str(path)


def build_parser(name: str) -> argparse.ArgumentParser:
    """Builds the parser of one recipe's train.sh."""
    parser = OneLineParser(
        prog=f"examples/{name}/train.sh",
        description=f"Trains with published hyper-parameters, or batches of their own. {RECIPES[name].title}",
        epilog="Flags after -- go to fairseq-train as they are. Interrupted, the same command goes on.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("stage", choices=list(STAGES), help="; ".join(f"{stage}: {text}" for stage, text in STAGES.items()))
    add("--recipe", choices=HOWS, default=PUBLISHED, help=_RECIPE_HELP)
    add("--routing", choices=ROUTINGS, default="neuron", help="of the supernet: how experts are mixed")
    add("--data", default=_relative(EXAMPLES / name / "work" / "all" / "data-bin"), help="binarised data")
    add("--save-dir", help="folder for checkpoints; by default checkpoints/, the example's name (with own-batches that "
        "beside it), the stage's name and routing")  # fmt: skip
    add("--gpus", type=natural, default=1, help="GPUs of all nodes together; the batch of an update stays the same")
    add("--nodes", type=natural, default=1, help="nodes; with several, prints what to run on each")
    add("--slurm", action="store_true", help="through Slurm: prints the srun line")
    add("--subnet", default="search/best.yaml", help="of scratch and retrain: the architecture")
    add("--weights", default="subnet/model.pt", help="of retrain: the extracted subnet")
    add("--print", action="store_true", dest="only_print", help="print the command instead of running it")
    return parser


def main(argv: list[str]) -> int:
    """Prints or runs one training command."""
    only_check = argv[:1] == ["--check"]
    argv = argv[1:] if only_check else argv
    if not argv or argv[0] not in RECIPES:
        sys.exit(f"usage: python -m corpora.training {{{','.join(RECIPES)}}} STAGE FLAGS...")
    name, rest = argv[0], argv[1:]
    split = rest.index("--") if "--" in rest else len(rest)
    parser = build_parser(name)
    args = parser.parse_args(rest[:split])
    if args.gpus % args.nodes:
        parser.error(f"--gpus {args.gpus} cannot be shared by --nodes {args.nodes}")
    batch = RECIPES_OF_TRAINING[name].batch
    if batch % args.gpus:
        parser.error(f"--gpus is {args.gpus}, allowed: a number that divides {batch} tokens, such as 1, 2, 4 or 8")
    # A sentence needs a place for its end, too.
    longest = MAX_PIECES["train"] + 1
    if batch // args.gpus < longest:
        parser.error(
            f"--gpus is {args.gpus}, allowed: {batch // longest} at most, since an update has {batch} tokens and a GPU "
            f"has to take a sentence of {longest}"
        )
    if only_check:
        return 0
    save_dir = args.save_dir
    if save_dir is None:
        run = name if args.recipe == PUBLISHED else f"{name}-{args.recipe}"
        save_dir = f"checkpoints/{run}/" + (f"supernet_{args.routing}" if args.stage == "supernet" else args.stage)
    flags = train_flags(
        name, args.stage, args.data, save_dir, args.gpus, args.routing, args.subnet, args.weights,
        _relative(ROOT / "fairseq_mos"), args.recipe,
    ) + rest[split + 1 :]  # fmt: skip
    command = logged(launch_command(flags, args.gpus, args.nodes, args.slurm), save_dir, args.stage)
    print(command, flush=True)
    if args.only_print or args.nodes > 1 or args.slurm:
        return 0
    needed = [args.data] + ([args.subnet] if args.stage != "supernet" else [])
    for path in needed + ([args.weights] if args.stage == "retrain" else []):
        if not Path(path).exists():
            parser.error(f"{path} does not exist" + (f": run examples/{name}/prepare.sh first" * (path == args.data)))
    # The exit code is the training's, not that of what writes the log.
    os.execv(shutil.which("bash") or "/bin/bash", ["bash", "-c", f"set -o pipefail; {command}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
