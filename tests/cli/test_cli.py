"""The command: help without heavy imports, verbs, one-line errors."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch
import yaml

from fairseq_mos.cli import VERBS
from tests import fairseq_commands as commands
from tests.supernet_commands import TRAIN, load, weights, workspace


def _cli(folder, *arguments, check=True):
    return commands.run([sys.executable, "-m", "fairseq_mos.cli", *map(str, arguments)], folder, check, fresh=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = workspace(tmp_path_factory.mktemp("cli"))
    commands.run_steps([[*TRAIN, "--save-dir", "full", "--max-update", "4", "--save-interval-updates", "1"]], folder)
    return folder


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_is_quick_and_complete(tmp_path, arguments):
    code = (
        "import sys; sys.argv = ['fairseq-mos', *sys.argv[1:]]\n"
        "from fairseq_mos.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    assert not {'torch', 'fairseq'} & set(sys.modules), 'heavy imports'\n"
    )
    script = tmp_path / "fairseq-mos"
    script.write_text(code)
    done = commands.run([sys.executable, str(script), *arguments], tmp_path)
    assert done.stdout.startswith("usage: fairseq-mos") and "None" not in done.stdout
    if arguments == ["--help"]:
        assert all(verb in done.stdout for verb in VERBS)


def test_user_dir(tmp_path):
    assert _cli(tmp_path, "user-dir").stdout.strip() == str(commands.ROOT / "fairseq_mos")


def test_architecture_from_a_space_and_from_a_checkpoint(trained):
    _cli(trained, "architecture", "--search-space", "space.yaml", "--architecture", "smallest", "--output", "a.yaml")
    checkpoint = ["--path", "full/checkpoint_last.pt"]
    _cli(trained, "architecture", *checkpoint, "--architecture", "smallest", "--output", "b.yaml")
    assert (trained / "a.yaml").read_text() == (trained / "b.yaml").read_text()
    printed = _cli(trained, "architecture", "--search-space", "space.yaml", "--architecture", "random:3").stdout
    assert yaml.safe_load(printed)["encoder"]["layers"] == 3


def test_extraction_is_deterministic_and_exact(trained):
    for name in ("one", "two"):
        done = _cli(
            trained, "extract", "--path", "full/checkpoint_last.pt", "--architecture", "smallest.yaml",
            "--output", f"{name}/subnet.pt",
        )  # fmt: skip
    one, two = (load(trained / name / "subnet.pt") for name in ("one", "two"))
    assert one["model"].keys() == two["model"].keys()
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert not any("rout" in name or "expert" in name for name in one["model"])
    assert one["cfg"]["model"]["_name"] == "mos_subnet" and one["cfg"]["task"]["_name"] == "translation"
    total = sum(value.numel() for value in one["model"].values())
    assert f"{total:,} parameters" in done.stdout
    full = weights(trained / "full/checkpoint_last.pt")
    supernet = sum(value.numel() for name, value in full.items() if name != "search_space_version")
    assert f"{supernet:,} parameters" in done.stdout
    for language in "ab":
        name = f"dict.{language}.txt"
        assert (trained / "one" / name).read_text() == (trained / "bin" / name).read_text()


def test_average_is_the_mean_and_can_be_extracted(trained):
    inputs = [trained / f"full/checkpoint_1_{update}.pt" for update in (1, 2, 3)]
    _cli(trained, "average", "--inputs", *inputs, "--output", "average.pt")
    _cli(
        trained, "average", "--inputs", "full", "--num-update-checkpoints", "3", "--checkpoint-upper-bound", "3",
        "--output", "last.pt",
    )  # fmt: skip
    averaged, again = weights(trained / "average.pt"), weights(trained / "last.pt")
    states = [weights(path) for path in inputs]
    for name, value in averaged.items():
        assert torch.equal(value, again[name])
        if value.is_floating_point():
            mean = torch.stack([state[name].double() for state in states]).mean(0)
            torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-8)
    done = _cli(trained, "extract", "--path", "average.pt", "--architecture", "largest", "--output", "avg/subnet.pt",
                "--data", "bin")  # fmt: skip
    assert "wrote avg/subnet.pt" in done.stdout


def test_subnet_trains_and_retrains_under_the_stock_task(trained):
    subnet = trained / "small" / "subnet.pt"
    _cli(trained, "extract", "--path", "full/checkpoint_last.pt", "--architecture", "smallest.yaml", "--output", subnet)
    train = [
        *("fairseq-train", "bin", "--user-dir", str(commands.ROOT / "fairseq_mos"), "--task", "translation"),
        *("--arch", "mos_subnet", "--subnet", "smallest.yaml", "--dropout", "0", "--cpu", "--max-tokens", "80"),
        *("--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam", "--lr", "0", "--max-update", "1"),
        *("--log-format", "simple"),
    ]
    steps = [
        [*train, "--finetune-from-model", str(subnet), "--save-dir", "retrained"],
        [*train, "--restore-file", str(subnet), "--save-dir", "restored"],
        [*train, "--save-dir", "scratch"],
    ]
    commands.run_steps(steps, trained)
    start = weights(subnet)
    for name in ("retrained", "restored"):
        end = weights(trained / name / "checkpoint_last.pt")
        assert all(torch.equal(start[key], end[key]) for key in start), "lr 0 keeps the inherited weights"
    scratch = load(trained / "scratch/checkpoint_last.pt")
    assert scratch["cfg"]["model"]["architecture_definition"].startswith("{")
    assert scratch["model"].keys() == start.keys()


def _bad(folder, message, *arguments):
    done = _cli(folder, *arguments, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("fairseq-mos: error: ")
    assert message in done.stderr


def test_bad_input_is_one_line_and_exit_code_2(trained, tmp_path):
    path = trained / "full/checkpoint_last.pt"
    (tmp_path / "broken.yaml").write_text("encoder: [\n")
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(path.read_bytes()[:5000])
    extract = ["extract", "--output", tmp_path / "x.pt", "--data", trained / "bin"]
    _bad(tmp_path, "missing.yaml", *extract, "--path", path, "--architecture", "missing.yaml")
    _bad(tmp_path, "broken.yaml", *extract, "--path", path, "--architecture", "broken.yaml")
    _bad(tmp_path, "random:", *extract, "--path", path, "--architecture", "random:")
    _bad(tmp_path, "missing.pt", *extract, "--path", "missing.pt", "--architecture", "largest")
    _bad(tmp_path, "truncated.pt", *extract, "--path", truncated, "--architecture", "largest")
    shipped = commands.ROOT / "configs/archs/hat"
    foreign = next(shipped.glob("wmt*.yaml"))
    _bad(tmp_path, "wmt", *extract, "--path", path, "--architecture", foreign)
    words = (trained / "bin/dict.a.txt").read_text().splitlines()
    for language in "ab":
        (tmp_path / f"dict.{language}.txt").write_text("\n".join(words[:-3]) + "\n")
    mismatch = ["extract", "--output", tmp_path / "x.pt", "--data", tmp_path]
    _bad(tmp_path, "entries", *mismatch, "--path", path, "--architecture", "largest")
    folder = tmp_path / "folder"
    folder.mkdir()
    output = ["extract", "--output", folder, "--data", trained / "bin", "--path", path]
    _bad(tmp_path, "cannot write", *output, "--architecture", "largest")
    _bad(tmp_path, "checkpoints, 9 are needed", "average", "--inputs", trained / "full", "--output", "y.pt",
         "--num-update-checkpoints", "9")  # fmt: skip
    assert not (tmp_path / "x.pt").exists() and not (tmp_path / "y.pt").exists()


def test_a_subnet_is_no_supernet(trained, tmp_path):
    shutil.copytree(trained / "bin", tmp_path / "bin")
    subnet = tmp_path / "subnet.pt"
    _cli(trained, "extract", "--path", "full/checkpoint_last.pt", "--architecture", "largest", "--output", subnet)
    _bad(tmp_path, "is no supernet", "extract", "--path", subnet, "--architecture", "largest", "--output", "z.pt")


def test_forbidden_pickle_types_are_refused(trained, tmp_path):
    state = load(trained / "full/checkpoint_last.pt")
    state["extra_state"]["payload"] = ForbiddenType()
    torch.save(state, tmp_path / "bad.pt")
    arguments = ["--architecture", "largest", "--output", "x.pt", "--data", trained / "bin"]
    _bad(tmp_path, "ForbiddenType", "extract", "--path", "bad.pt", *arguments)


class ForbiddenType:
    """A class that no checkpoint may hold."""
