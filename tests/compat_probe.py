"""Shows fairseq's defects, or their absence: run as a script, with and without the repairs.

`python compat_probe.py FOLDER DATA [PLUGIN]` prints one JSON object; every entry is a fact about
fairseq as it behaves in this process. With PLUGIN the repairs are applied first.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.data import FairseqDataset, TokenBlockDataset, data_utils
from fairseq.data.bucket_pad_length_dataset import BucketPadLengthDataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer

from tests.fairseq_commands import TINY


def attempt(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """The function's result, or the exception's class name and text."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}


class Items(FairseqDataset):
    """Items of given lengths in an order drawn from numpy's generator, as fairseq's own data sets do."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = np.array(sizes)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.ones(self.sizes[index], dtype=torch.long)

    def __len__(self) -> int:
        return len(self.sizes)

    def num_tokens(self, index: int) -> int:
        return self.sizes[index]

    def size(self, index: int) -> int:
        return self.sizes[index]

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.sizes[indices]

    def ordered_indices(self) -> np.ndarray:
        order = np.random.permutation(len(self))
        return order[np.argsort(self.sizes[order], kind="stable")]

    def collater(self, samples: list) -> list:
        return samples


def batches() -> dict[str, list]:
    """Batches for many limits: name -> list of batches; every name starts with the number of items."""
    found = {}
    for count in (1, 5, 8, 9, 23, 64):
        sizes = np.arange(count) % 13 + 1
        for multiple in (1, 4, 8):
            for tokens, sentences in ((40, None), (None, 3), (None, 8), (60, 5), (1000, None)):
                name = f"{count} items, multiple {multiple}, tokens {tokens}, sentences {sentences}"
                for kind, vector in (("vec", sizes), ("fn", None)):
                    result = data_utils.batch_by_size(
                        np.arange(count)[::-1].copy(),
                        lambda index, sizes=sizes: sizes[index],
                        num_tokens_vec=None if vector is None else vector[::-1].copy(),
                        max_tokens=tokens,
                        max_sentences=sentences,
                        required_batch_size_multiple=multiple,
                    )
                    found[f"{name}, {kind}"] = [np.asarray(batch).tolist() for batch in result]
    return found


def iterate(data: FairseqDataset, epochs: int, first: int = 1, **options: Any) -> list[list[list[int]]]:
    """The batches of each epoch for a task that starts, or resumes, in epoch `first`."""
    task = FairseqTask(None)
    iterator = task.get_batch_iterator(data, max_sentences=4, epoch=first, **options)
    iterator.load_state_dict({"epoch": first, "iterations_in_epoch": 0, "version": 2})
    epochs_seen = []
    for _ in range(first, epochs + 1):
        epoch_itr = iterator.next_epoch_itr()
        epochs_seen.append([list(map(int, batch)) for batch in iterator.epoch_batch_sampler])
        for _ in epoch_itr:
            pass
        iterator = task.get_batch_iterator(data, max_sentences=4, epoch=iterator.next_epoch_idx, **options)
    return epochs_seen


class Forbidden:
    """Unpickling this runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def checkpoints(folder: Path) -> dict[str, Any]:
    """What `load_checkpoint_to_cpu` makes of good and bad files."""
    state = {
        "args": None,
        "cfg": None,
        "model": {"w": torch.ones(2)},
        "optimizer_history": [{"optimizer_name": "a", "lr_scheduler_state": {}, "num_updates": 3}],
        "extra_state": {
            "train_iterator": {"epoch": 1},
            "space": argparse.Namespace(width=8),
            "bleu": np.array([1.5, 2.5]),
            "loss": np.float64(0.5),
            "count": np.int64(7),
        },
    }
    torch.save(state, folder / "good.pt")
    torch.save({**state, "extra": Forbidden(f"touch {folder / 'ran'}")}, folder / "forbidden.pt")
    (folder / "truncated.pt").write_bytes((folder / "good.pt").read_bytes()[:-200])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("hello")
    torch.save({"weight": torch.ones(1)}, folder / "foreign.pt")
    (folder / "plain.pt").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    found: dict[str, Any] = {}
    for name in ("good", "forbidden", "truncated", "empty", "text", "foreign", "plain", "missing"):
        loaded = attempt(checkpoint_utils.load_checkpoint_to_cpu, str(folder / f"{name}.pt"))
        found[name] = loaded if "error" in loaded else repr(loaded["extra_state"])
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempt(checkpoint_utils.load_checkpoint_to_cpu, str(folder / "forbidden.pt"))
    del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
    found["ran"] = (folder / "ran").exists()
    found["ensemble"] = attempt(checkpoint_utils.load_model_ensemble, [str(folder / "missing.pt")])
    (folder / "file").write_text("")
    found["save_dir"] = attempt(checkpoint_utils.verify_checkpoint_directory, str(folder / "file" / "x"))
    return found


def interrupted_copy(folder: Path) -> dict[str, Any]:
    """What a copy over an existing file leaves when it breaks off, and when it does not."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(b"n" * 100_000)
    target.write_bytes(b"old")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    outcome = attempt(PathManager.copy, str(source), str(target), overwrite=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    after = target.read_bytes() == b"old"
    PathManager.copy(str(source), str(target), overwrite=True)
    rest = sorted(path.name for path in folder.glob("target*"))
    whole = target.read_bytes() == source.read_bytes()
    return {"failed": "error" in outcome, "old_kept": after, "whole": whole, "files": rest}


def broadcast() -> Any:
    """Sends a checkpoint with a configuration from rank 0 to rank 1, over a list instead of a network."""
    config = convert_namespace_to_omegaconf(arguments("--max-epoch", "3"))
    state = {"cfg": config, "args": None, "model": {"w": torch.arange(3.0)}, "pair": (1, [torch.ones(2)])}
    sent: list[torch.Tensor] = []
    originals = distributed_utils.get_rank, distributed_utils.broadcast
    try:
        distributed_utils.get_rank = lambda group: 0
        distributed_utils.broadcast = lambda tensor, src, group: sent.append(tensor.clone())
        kept = distributed_utils.broadcast_object(state, 0, None, torch.device("cpu"))
        distributed_utils.get_rank = lambda group: 1
        distributed_utils.broadcast = lambda tensor, src, group: tensor.copy_(sent.pop(0))
        got = distributed_utils.broadcast_object(None, 0, None, torch.device("cpu"))
    finally:
        distributed_utils.get_rank, distributed_utils.broadcast = originals
    same = [
        torch.equal(side["model"]["w"], state["model"]["w"])
        and side["cfg"].optimization.max_epoch == 3
        and side["cfg"].model.encoder_embed_dim == 16
        and side["pair"][0] == 1
        and torch.equal(side["pair"][1][0], torch.ones(2))
        for side in (kept, got)
    ]
    return same


def arguments(*extra: str) -> argparse.Namespace:
    command = [DATA, *TINY, "--save-dir", str(FOLDER / "probe"), *extra]
    return options.parse_args_and_arch(options.get_training_parser(), command)


def loss_scalers() -> dict[str, Any]:
    """What a second trainer knows of the first one's loss scaler after a checkpoint."""
    # As on a GPU: without one the scaler that fairseq builds is switched off.
    torch.cuda.amp.GradScaler = lambda **options: torch.amp.GradScaler("cpu", **options)
    fp16 = {"_iter": 7, "_last_overflow_iter": 5, "_last_rescale_iter": 6, "_overflows_since_rescale": 1}
    amp = {"scale": 32.0, "_growth_tracker": 7}
    found = {}
    for precision, state in (("fp16", fp16), ("amp", amp)):
        config = convert_namespace_to_omegaconf(arguments(f"--{precision}", "--fp16-no-flatten-grads"))
        task = tasks.setup_task(config.task)
        first, second = (
            Trainer(config, task, task.build_model(config.model), task.build_criterion(config.criterion))
            for _ in range(2)
        )
        scaler = first.optimizer.scaler
        if precision == "fp16":
            vars(scaler).update(state)
        else:
            scaler.load_state_dict({**scaler.state_dict(), **state})
        path = str(FOLDER / f"{precision}.pt")
        first.consolidate_optimizer()
        first.save_checkpoint(path, {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0, "version": 2}})
        second.load_checkpoint(path)
        scaler = second.optimizer.scaler
        after = vars(scaler) if precision == "fp16" else scaler.state_dict()
        found[precision] = {name: after[name] for name in state} == state
    return found


def launches() -> dict[str, Any]:
    """What the launch makes of configurations that would train nothing, or the same thing twice."""
    from fairseq_cli import train

    def launch(*extra: str) -> Any:
        calls: list[int] = []

        def main(config: Any) -> None:
            calls.append(config.distributed_training.distributed_world_size)

        main.__code__ = main.__code__.replace(co_filename=train.__file__)
        outcome = attempt(
            distributed_utils.call_main, convert_namespace_to_omegaconf(arguments(*extra)), main
        )
        return outcome or calls

    two = ("--distributed-world-size", "2")
    found = {
        "one": launch(),
        "no_launcher": launch(*two),
        "port": launch(*two, "--distributed-port", "12345"),
        "spawn": launch(*two, "--distributed-init-method", "tcp://127.0.0.1:1"),
    }
    os.environ.update(RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    found["torchrun"] = launch()
    found["torchrun_two"] = launch(*two)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        del os.environ[name]
    return found


def run_training(words: list[str]) -> None:
    from fairseq_cli import train

    sys.argv = ["fairseq-train", *words]
    train.cli_main()


def facts() -> dict[str, Any]:
    sentences = Items([length % 7 + 1 for length in range(27)])
    bucketed = attempt(BucketPadLengthDataset, sentences, sentences.sizes, 3, pad_idx=0, left_pad=False)
    blocks = attempt(TokenBlockDataset, list(sentences), sentences.sizes, None, 1, 2, break_mode="eos")
    filtered = FairseqTask(None).get_batch_iterator(
        Items([1, 2, 3, 9, 9]), max_sentences=8, max_positions=5, ignore_invalid_inputs=True,
        required_batch_size_multiple=8,
    )  # fmt: skip
    found = {
        "batches": batches(),
        "bucketed": bucketed
        if isinstance(bucketed, dict)
        else iterate(bucketed, 1, required_batch_size_multiple=8),
        "filtered": sorted(int(i) for batch in filtered.frozen_batches for i in batch),
        "uninterrupted": iterate(sentences, 3),
        "resumed": iterate(sentences, 3, first=2),
        "rebuilt": iterate(sentences, 2, update_epoch_batch_itr=True),
        "rebuilt_resumed": iterate(sentences, 2, first=2, update_epoch_batch_itr=True),
        "eos_blocks": blocks if isinstance(blocks, dict) else len(blocks),
        "tpu": {
            flag or "none": attempt(arguments, *flag.split()).tpu for flag in ("", "--bf16", "--bf16 --tpu")
        },
        "validate_task": attempt(
            lambda: options.parse_args_and_arch(options.get_validation_parser(), [DATA, "--path", "x"]).path
        ),
        "checkpoints": checkpoints(FOLDER),
        "copy": interrupted_copy(FOLDER),
        "broadcast": attempt(broadcast),
        "launches": launches(),
    }
    # From here on the process needs to load checkpoints, repaired or not.
    torch.serialization.add_safe_globals([argparse.Namespace])
    found["loss_scalers"] = loss_scalers()
    run_training([DATA, *TINY, "--max-epoch", "1", "--save-dir", str(FOLDER / "trained")])
    return found


if __name__ == "__main__":
    FOLDER, DATA = Path(sys.argv[1]), sys.argv[2]
    applied = []
    if len(sys.argv) > 3:
        sys.path.insert(0, sys.argv[3])
        import repairs_only

        applied = [repairs_only.APPLIED, repairs_only.compat.apply()]
    stdout, sys.stdout = sys.stdout, io.StringIO()
    sys.argv = ["fairseq-train"]
    result = facts()
    sys.stdout = stdout
    print(json.dumps({"applied": applied, **result}))
