"""What fairseq-train printed, read back; and how many updates inherited weights save."""

from __future__ import annotations

import pytest

from fairseq_mos.errors import UserError
from fairseq_mos.report.logs import TrainingLog, read_log
from fairseq_mos.report.retraining import compare
from tests import fairseq_commands as commands
from tests.supernet_commands import TRAIN, workspace


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The same training of a supernet in both log formats."""
    folder = workspace(tmp_path_factory.mktemp("logs"))
    found = {}
    for form in ("json", "simple"):
        flags = [*TRAIN, "--log-format", form, "--save-dir", form, "--max-update", "4", "--save-interval-updates", "2"]
        done = commands.run_steps([[*flags, "--log-file", f"file-{form}.log"]], folder)
        found[form] = folder / f"train-{form}.log"
        found[form].write_text(f"$ fairseq-train bin --log-format {form}\n" + done.stdout + done.stderr)
    return found


@pytest.mark.parametrize("form", ["json", "simple"])
def test_both_formats_of_fairseq(printed, form):
    log = read_log(printed[form])
    assert log.name == form and log.updates == 4 and log.is_supernet
    assert log.roles == ["largest", "smallest", "random", "random2", ""]
    assert sorted(log.train) == [1, 2, 3, 4] and all(4 < loss < 12 for loss in log.train.values())
    assert {2, 4} <= set(log.valid[""]) and {"", "largest", "smallest", "random"} <= set(log.valid)
    assert not any("nll" in role or "best" in role for role in log.valid)
    seconds = [log.seconds[update] for update in (1, 2, 3, 4)]
    assert seconds == sorted(seconds) and log.seconds_at(3) == seconds[2]


def test_both_formats_tell_the_same(printed):
    one, two = (read_log(path) for path in printed.values())
    assert one.valid.keys() == two.valid.keys()
    assert one.valid["largest"] == pytest.approx(two.valid["largest"])


@pytest.mark.parametrize("form", ["json", "simple"])
def test_log_file_and_hydra_tell_what_the_terminal_does(printed, form):
    """--log-file holds bare messages, fairseq-hydra-train puts other words before them."""
    expected = read_log(printed[form])
    bare = printed[form].with_name(f"file-{form}.log")
    hydra = bare.parent / "my-supernet" / "outputs" / "2026-11-25" / "18-52-52" / "hydra_train.log"
    hydra.parent.mkdir(parents=True, exist_ok=True)
    hydra.write_text("".join(f"[2026-11-25 18:52:55,836][valid][INFO] - {line}\n" for line in bare.open()))
    for file, name in ((bare, f"file-{form}"), (hydra, "my-supernet")):
        found = read_log(file)
        assert (found.train, found.valid, found.seconds) == (expected.train, expected.valid, expected.seconds)
        assert found.name == name


def test_means_of_epochs_count_where_nothing_finer_is_logged(printed):
    def fine(line):
        return '"update": ' in line or "epoch 001:" in line

    for form, file in printed.items():
        short = file.with_name("short.log")
        short.write_text("".join(line for line in file.open() if not fine(line)))
        log = read_log(short)
        assert list(log.train) == [4] and sorted(log.valid[""]) == [2, 4], form


def test_the_first_valid_set_counts(tmp_path):
    lines = [f'| INFO | {name} | {{"{name}_loss": "{loss}", "{name}_num_updates": "9"}}' for name, loss in
             (("valid", 5), ("valid1", 6))]  # fmt: skip
    (tmp_path / "x.log").write_text("\n".join(lines))
    assert read_log(tmp_path / "x.log").valid == {"": {9: 5.0}}
    assert not read_log(tmp_path / "x.log").is_supernet


def test_a_resumed_run_logs_some_updates_twice(tmp_path):
    inner = '| INFO | train_inner | {"loss": "%s", "num_updates": "%d", "train_wall": "10"}'
    lines = [inner % (9, 20), inner % (8, 40), inner % (8.5, 40), inner % (7, 60)]
    (tmp_path / "train-x.log").write_text("\n".join(lines))
    log = read_log(tmp_path / "train-x.log")
    assert log.train == {20: 9, 40: 8.5, 60: 7} and log.seconds == {20: 10, 40: 20, 60: 30}
    assert log.seconds_at(59) == 20 and log.seconds_at(5) is None


def test_whole_seconds_are_refined_by_the_speed(tmp_path):
    inner = '| INFO | train_inner | {"loss": "5", "ups": "%s", "num_updates": "%d", "train_wall": "%d"}'
    # 20 updates each; the first has no speed yet, then 0.8 s, 1.25 s, 1 s after a validation of many.
    lines = [inner % ("0", 20, 2), inner % ("25", 40, 1), inner % ("16", 60, 1), inner % ("0.5", 80, 1)]
    (tmp_path / "x.log").write_text("\n".join(lines))
    assert read_log(tmp_path / "x.log").seconds == pytest.approx({20: 2, 40: 2.8, 60: 4.05, 80: 5.55})


@pytest.mark.parametrize("content", ["", "something else\n", "| valid | nothing\n"])
def test_other_files(tmp_path, content):
    (tmp_path / "x.log").write_text(content)
    with pytest.raises(UserError, match="is no log of fairseq-train"):
        read_log(tmp_path / "x.log")
    with pytest.raises(UserError, match="cannot read .*missing.log: No such file"):
        read_log(tmp_path / "missing.log")


def _log(name, curve, seconds=None):
    return TrainingLog(name, name, {}, {"": curve}, seconds or {})


def test_what_inherited_weights_save():
    scratch = _log("scratch", {100: 6.0, 200: 5.0, 300: 4.5, 400: 4.6}, {300: 30.0})
    found = compare(scratch, _log("retrained", {50: 4.8, 100: 4.5, 150: 4.3}, {100: 12.0}))
    assert (found.target_loss, found.scratch_updates, found.retrained_updates) == (4.5, 300, 100)
    assert found.saved() == pytest.approx(2 / 3) and found.retrained_best == 4.3
    assert found.sentences()[1] == (
        "retrained: reached that at update 100, 12 s of training: 67% fewer updates; lowest valid loss 4.300"
    )
    never = compare(scratch, _log("retrained", {50: 4.8}))
    assert never.saved() is None and "did not reach" in never.sentences()[1]
    at_once = compare(scratch, _log("retrained", {50: 4.4}))
    assert "validate more often" in at_once.sentences()[-1]
    with pytest.raises(UserError, match="holds no valid loss"):
        compare(scratch, TrainingLog("x", "x.log"))
