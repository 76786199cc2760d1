"""What a plan's flags, spaces and revisions are before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fairseq import options

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from reproduce.checking import check_flags  # noqa: E402
from reproduce.plan import draw, read_plan  # noqa: E402
from reproduce.retraining import retrained_of  # noqa: E402
from reproduce.units import command_line, jobs_of  # noqa: E402
from test_reproduce import PLAN, PLANS, commands, jobs, run, small_pool, written  # noqa: E402, F401

from fairseq_mos.arch import SearchSpace  # noqa: E402
from fairseq_mos.errors import UserError  # noqa: E402


def trainings(path: Path) -> list:
    plan = read_plan(path)
    drawn = [one for _, one in draw(SearchSpace.load(plan.space), plan.architectures)]
    found = jobs_of(plan, drawn, "c")
    return [unit.training for unit in [*found, *retrained_of(plan, drawn, found)]]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_the_shipped_plans_pass(path):
    check_flags(path, trainings(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"mine": {"seeds": [1], "flags": ["--my-method 3"]}}}, "mine: fairseq-train says: unrecognized"),
        ({"methods": {"mine": {"seeds": [1], "flags": ["--routing nope"]}}}, "argument --routing: invalid choice"),
        ({"methods": {"mine": {"seeds": [1], "flags": ["--num-experts 0"]}}}, "--num-experts is 0, allowed: 1 to"),
        ({"methods": {"mine": {"seeds": [1], "flags": ["--arch-own-batches"]}}}, "--update-freq is 1, allowed: one"),
        ({"methods": {"mine": {"seeds": [1], "flags": ["--arch-window 3:1"]}}}, "--arch-window is '3:1', allowed"),
        ({"scratch": {"seeds": [1], "flags": ["--lr"]}}, "scratch: fairseq-train says: argument --lr: expected one"),
        ({"retraining": {"variants": {"all": ["--trainable some"]}, "architectures": 1}}, "plain: retraining, all: "),
    ],
)
def test_a_flag_that_cannot_be_is_told_before_anything_is_trained(tmp_path, changes, message):
    path = written(tmp_path, **changes)
    with pytest.raises(UserError) as error:
        check_flags(path, trainings(path))
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value) and "see --help" not in str(error.value)


def test_the_runner_checks_first(tmp_path, commands):  # noqa: F811
    path = written(tmp_path, methods={"mine": {"seeds": [1], "flags": ["--my-method 3"]}})
    with pytest.raises(UserError, match="mine: fairseq-train says: unrecognized arguments: --my-method 3$"):
        run(path, tmp_path)
    assert not commands.started


def test_another_revision_is_another_training(tmp_path):
    methods = {**PLAN["methods"], "neuron": {**PLAN["methods"]["neuron"], "revision": "2"}}
    plans = {}, {"methods": methods}
    before, after = ({job.name: job.digest for job in jobs(written(tmp_path, **more))} for more in plans)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.startswith("neuron")} and changed


def test_a_space_of_ones_own(tmp_path):
    """It has no named architecture; where its file lies does not matter."""
    for name in ("a.yaml", "b.yaml"):
        SearchSpace.load("tiny").save(tmp_path / name)
    paths = [written(tmp_path, f"plan-{name}", space=str(tmp_path / name)) for name in ("a.yaml", "b.yaml")]
    first, second = ([job.training for job in jobs(path)] for path in paths)
    assert [one.digest for one in first] == [one.digest for one in second]
    supernet = next(one for one in first if not one.architecture)
    words = command_line(supernet, Path("DATA"), Path("SAVE"), Path("SUBNET"))
    parsed = options.parse_args_and_arch(options.get_training_parser(), input_args=words)
    assert (parsed.arch, parsed.search_space) == ("mos_transformer", str(tmp_path / "a.yaml"))
    assert parsed.share_all_embeddings, "as its subnets from scratch"
    check_flags(paths[0], first)


def test_a_space_of_another_family_is_refused(tmp_path):
    with pytest.raises(UserError, match="space bert_tiny is of family masked_lm, allowed: translation"):
        read_plan(written(tmp_path, space="bert_tiny"))
