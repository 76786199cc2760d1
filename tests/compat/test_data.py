"""Damaged, foreign and missing data: one line that names the file, before work starts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from fairseq.data import indexed_dataset
from fairseq.tasks.translation import TranslationConfig, TranslationTask

import fairseq_mos
from fairseq_mos.errors import UserError
from tests.fairseq_commands import ROOT, TINY, run, run_steps

fairseq_mos.register()


@pytest.fixture
def data(bench, tmp_path) -> Path:
    shutil.copytree(bench / "bin", tmp_path / "bin")
    return tmp_path / "bin"


def cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


def set_token(path: Path, token: int) -> None:
    tokens = np.fromfile(path, np.uint16)
    tokens[len(tokens) // 2] = token
    tokens.tofile(path)


DAMAGES = {
    "index cut": (lambda d: cut(d / "train.a-b.a.idx", 0.5), r"train.a-b.a.idx is damaged .*not that of 45 sentences"),
    "index's header cut": (lambda d: cut(d / "train.a-b.b.idx", 0.01), r"train.a-b.b(.idx)? is damaged"),
    "index empty": (lambda d: cut(d / "train.a-b.b.idx", 0), r"train.a-b.b.* is damaged"),
    "index of other data": (
        lambda d: shutil.copy(d / "train.a-b.a.idx", d / "valid.a-b.a.idx"),
        r"valid.a-b.a.bin is damaged \(its index speaks of [\d,]+ bytes, but it has",
    ),
    "data cut": (lambda d: cut(d / "train.a-b.a.bin", 0.5), r"train.a-b.a.bin is damaged \(its index speaks of"),
    "data empty": (lambda d: cut(d / "valid.a-b.b.bin", 0), r"valid.a-b.b.bin holds no sentences"),
    "token beyond": (
        lambda d: set_token(d / "train.a-b.b.bin", 40),
        r"train.a-b.b.bin holds token number 40, but its dictionary has 40 entries",
    ),
    "dictionary cut": (lambda d: cut(d / "dict.b.txt", 0.6), r"train.a-b.b.bin holds token number \d+, but its"),
    "dictionary cut in a word": (
        lambda d: (d / "dict.a.txt").write_text((d / "dict.a.txt").read_text() + "word"),
        r"dict.a.txt is damaged, expected lines of word and count",
    ),
    "dictionary in Latin-1": (lambda d: (d / "dict.a.txt").write_bytes(b"\xe9t\xe9 5\n"), r"dict.a.txt is damaged"),
    "word twice": (lambda d: (d / "dict.b.txt").write_text("a 5\na 4\n"), r"dict.b.txt is damaged, .*Duplicate word"),
    "no dictionary": (lambda d: (d / "dict.b.txt").unlink(), r"cannot read .*dict.b.txt: No such file"),
    "unequal sides": (
        lambda d: [shutil.copy(d / f"valid.a-b.b.{end}", d / f"train.a-b.b.{end}") for end in ("idx", "bin")],
        r"bin, train: the source has 45 sentences, but the target 11",
    ),
    "no such set": (
        lambda d: (d / "train.a-b.a.idx").unlink(),
        r"bin has no train set of a-b as binarised data; it holds binarised of a-b: test, train, valid",
    ),
}


def load(folder: Path, **options) -> None:
    task = TranslationTask.setup_task(TranslationConfig(data=str(folder), train_subset="train", **options))
    for split in ("train", "valid"):
        task.load_dataset(split)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(data, name):
    impl = {"source_lang": "a", "target_lang": "b", "dataset_impl": "mmap"}
    load(data, **impl)
    damage, message = DAMAGES[name]
    damage(data)
    for options in (impl, {**impl, "dataset_impl": None}):
        with pytest.raises(UserError, match=message) as error:
            load(data, **options)
        assert "\n" not in str(error.value)


def test_the_older_format_is_checked_too(data, tmp_path):
    for split in ("train", "valid"):
        for side in "ab":
            prefix = str(data / f"{split}.a-b.{side}")
            items = indexed_dataset.make_dataset(prefix, "mmap")
            builder = indexed_dataset.IndexedDatasetBuilder(str(tmp_path / "new.bin"))
            for item in items:
                builder.add_item(item)
            builder.finalize(str(tmp_path / "new.idx"))
            for end in ("bin", "idx"):
                shutil.move(tmp_path / f"new.{end}", f"{prefix}.{end}")
    options = {"source_lang": "a", "target_lang": "b", "dataset_impl": "cached"}
    load(data, **options)
    intact = (data / "train.a-b.a.bin").read_bytes()
    cut(data / "train.a-b.a.bin", 0.5)
    with pytest.raises(UserError, match="train.a-b.a.bin is damaged"):
        load(data, **options)
    (data / "train.a-b.a.bin").write_bytes(intact[:-4] + np.int32(41).tobytes())
    with pytest.raises(UserError, match="holds token number 40, but its dictionary has 40"):
        load(data, **options)
    (data / "train.a-b.a.bin").write_bytes(intact)
    cut(data / "train.a-b.a.idx", 0.7)
    with pytest.raises(UserError, match="train.a-b.a.idx is damaged .*not that of 45 sentences"):
        load(data, **options)


def test_raw_text_in_the_place_of_binarised_data(bench, data):
    for path in data.glob("*.a-b.*"):
        path.unlink()
    for side in "ab":
        shutil.copy(bench / f"test.{side}", data / f"test.a-b.{side}")
    task = TranslationTask.setup_task(TranslationConfig(data=str(data), source_lang="a", target_lang="b"))
    task.cfg.dataset_impl = None
    with pytest.raises(UserError, match=r"no test set of a-b as binarised data; it holds raw text of a-b: test \(raw"):
        task.load_dataset("test")
    task.cfg.dataset_impl = "raw"
    task.load_dataset("test")
    assert len(task.dataset("test")) == 5
    with pytest.raises(UserError, match="no valid set of a-b as raw text"):
        task.load_dataset("valid")


@pytest.mark.parametrize("command", ["train", "validate", "generate"])
def test_commands_end_in_one_line(bench, data, command):
    plugin = ["--user-dir", str(ROOT / "fairseq_mos")]
    words = {
        "train": [*TINY, "--save-dir", str(data / "model")],
        "validate": ["--path", str(bench / "model" / "checkpoint_last.pt"), "--max-tokens", "64", "--cpu"],
        "generate": ["--path", str(bench / "model" / "checkpoint_last.pt"), "--max-tokens", "64", "--cpu"],
    }[command]
    if command != "train" and not (bench / "model").exists():
        model = ["--save-dir", str(bench / "model"), "--max-update", "1", "--disable-validation"]
        run_steps([["fairseq-train", str(bench / "bin"), *TINY, *plugin, *model]], bench)
    for split in ("train", "valid", "test"):
        set_token(data / f"{split}.a-b.b.bin", 60_000)
    done = run([sys.executable, "-m", f"fairseq_cli.{command}", str(data), *plugin, *words], data, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("fairseq-mos: error: ") and "holds token number 60000" in line


def test_what_fairseq_says_to_the_user_is_one_line_too(data):
    plugin = ["--user-dir", str(ROOT / "fairseq_mos"), "--save-dir", str(data / "model"), "--max-update", "1"]
    short = [sys.executable, "-m", "fairseq_cli.train", str(data), *TINY, *plugin, "--max-source-positions", "3"]
    done = run(short, data, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "--skip-invalid-size-inputs-valid-test" in done.stderr
