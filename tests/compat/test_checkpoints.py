"""A checkpoint that cannot be written, or is none, is one line; the last whole one stays."""

from __future__ import annotations

import sys
from functools import partial
from types import SimpleNamespace

import pytest
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

import fairseq_mos
from fairseq_mos.errors import UserError
from tests.fairseq_commands import TINY, run

LIMITED = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
runpy.run_module("fairseq_cli.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("kept", [0.02, 0.97])
def test_a_disk_that_is_full(bench, tmp_path, kept):
    """A limit on the size of files stands for the end of a disk."""
    plugin = ["--user-dir", str(bench / "repairs_only"), "--save-dir", str(tmp_path / "model")]
    train = [str(bench / "bin"), *TINY, *plugin, "--save-interval-updates", "1", "--max-update"]
    run([sys.executable, "-m", "fairseq_cli.train", *train, "1"], tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").glob("checkpoint*")}
    limit = str(int(len(before["checkpoint_last.pt"]) * kept))
    done = run([sys.executable, "-c", LIMITED, limit, *train, "3"], tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"fairseq-mos: error: cannot write checkpoint {tmp_path}/model/checkpoint_1_2.pt: File too large; "
        "the last whole ones stay"
    ]
    assert "Traceback" not in done.stdout
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").glob("checkpoint*")} == before
    run([sys.executable, "-m", "fairseq_cli.train", *train, "2"], tmp_path)
    assert (tmp_path / "model" / "checkpoint_1_2.pt").exists()


@pytest.fixture
def start(bench, tmp_path):
    """Loads what a training would start from, with the trainer's own methods and nothing to train."""
    fairseq_mos.register()
    cfg = OmegaConf.create({"distributed_training": {"distributed_rank": 0}})
    trainer = SimpleNamespace(checkpoint_suffix="", cfg=cfg, task=SimpleNamespace(cfg=None))
    trainer.load_checkpoint = partial(Trainer.load_checkpoint, trainer)

    def load(**options):
        save_dir = str(tmp_path / "model")
        checkpoint_utils.load_checkpoint(CheckpointConfig(save_dir=save_dir, no_save=True, **options), trainer)

    return load


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finetune_from_model": "folder"}, "^folder is a folder, expected a checkpoint"),
        ({"restore_file": "folder"}, "^folder is a folder, expected a checkpoint"),
        ({"continue_once": "folder"}, "^folder is a folder, expected a checkpoint"),
        ({"finetune_from_model": "none.pt"}, "^--finetune-from-model none.pt: no such file"),
        ({"restore_file": "none.pt"}, "^--restore-file none.pt: no such file"),
        ({"restore_file": "link.pt"}, "^--restore-file link.pt: no such file"),
        ({"finetune_from_model": "x.pt", "reset_meters": True}, "^--finetune-from-model can not be set together"),
        ({"finetune_from_model": "x.pt", "restore_file": "folder"}, "^--finetune-from-model and --restore-file"),
    ],
)
def test_what_is_no_file_is_refused(start, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.pt").symlink_to("nowhere")
    with pytest.raises(UserError, match=message) as error:
        start(**options)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_last_checkpoint_that_is_no_file_is_refused(start, tmp_path, kind):
    (tmp_path / "model").mkdir()
    last = tmp_path / "model" / "checkpoint_last.pt"
    last.mkdir() if kind == "folder" else last.symlink_to("nowhere")
    with pytest.raises(UserError, match="checkpoint_last.pt is (a folder|no file), expected a checkpoint"):
        start()
