"""Seeds, interruption and files."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from functools import partial

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.errors import UserError
from fairseq_mos.search.budget import Budget
from fairseq_mos.search.candidates import Problem
from fairseq_mos.search.constraints import Constraint
from fairseq_mos.search.pareto import nondominated
from fairseq_mos.search.plan import recorded_budget
from fairseq_mos.search.settings import Settings
from tests.arch.samples import mini
from tests.search.synthetic import COSTS, Counter, everything, loss_of, search

OPTIONS = {
    "budget": 45,
    "settings": Settings(population=12, parents=4, mutations=5, crossovers=5),
    "constraints": [Constraint.parse("params<=5K")],
}


def contents(folder):
    """What a search wrote, but for the state file, which holds its running time."""
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != "state.json"]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.mark.parametrize("algorithm", ["random", "evolution", "nsga2"])
def test_same_seed_same_files_and_another_seed_others(tmp_path, algorithm):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        search(tmp_path / name, algorithm=algorithm, seed=seed, **OPTIONS)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a["evaluations.jsonl"].splitlines()[5:] != c["evaluations.jsonl"].splitlines()[5:]


@pytest.mark.parametrize("algorithm", ["random", "evolution", "nsga2"])
def test_interrupted_anywhere_and_resumed_equals_uninterrupted(tmp_path, algorithm):
    options = {**OPTIONS, "objectives": ("loss", "flops") if algorithm == "nsga2" else ("loss",)}
    search(tmp_path / "whole", algorithm=algorithm, **options)
    whole = contents(tmp_path / "whole")
    for after in (0, 1, 11, 12, 20, 44):
        folder = tmp_path / f"after{after}"
        with pytest.raises(KeyboardInterrupt):
            search(folder, Counter(fail_at=after), algorithm=algorithm, **options)
        rest = Counter()
        result = search(folder, rest, algorithm=algorithm, **options)
        assert (len(rest.calls), result.replayed) == (45 - after, after)
        assert contents(folder) == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    def killing(arch):
        if len(log.read_text().splitlines()) == 18:
            with open(log, "a") as stream:  # as if the kill had come in the middle of a write
                stream.write('{"index": 17, "dig')
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": loss_of(arch), "nll_loss": loss_of(arch) / 3}

    search(tmp_path / "whole", **OPTIONS)
    log = tmp_path / "killed" / "evaluations.jsonl"
    child = os.fork()
    if child == 0:
        try:
            search(tmp_path / "killed", killing, **OPTIONS)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    rest = Counter()
    search(tmp_path / "killed", rest, **OPTIONS)
    assert len(rest.calls) == 45 - 17
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_finished_search_evaluates_nothing_again_and_a_larger_budget_continues_it(tmp_path):
    search(tmp_path / "a", **OPTIONS)
    again = Counter()
    search(tmp_path / "a", again, **OPTIONS)
    assert again.calls == []
    search(tmp_path / "a", again, **{**OPTIONS, "budget": 60})
    assert len(again.calls) == 15
    search(tmp_path / "b", **{**OPTIONS, "budget": 60})
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize("algorithm", ["evolution", "nsga2"])
def test_sizes_that_were_scaled_to_a_small_budget_stay_when_it_grows(tmp_path, algorithm):
    """The default population, 125, is too large for a budget of 60: it is scaled down, once for all."""
    options = {"algorithm": algorithm, "objectives": ("loss", "flops")}
    first = search(tmp_path / "a", budget=60, **options)
    begun_with = recorded_budget(tmp_path / "a")
    more = Counter()
    result = search(tmp_path / "a", more, budget=90, fitted_to=begun_with, **options)
    assert (begun_with, len(more.calls), result.replayed) == (60, 30, 60)
    assert [e.architecture for e in result.evaluations[:60]] == [e.architecture for e in first.evaluations]
    whole = search(tmp_path / "b", budget=90, fitted_to=60, **options)
    assert [e.architecture for e in whole.evaluations] == [e.architecture for e in result.evaluations]
    assert recorded_budget(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 5}, "seed"),
        ({"algorithm": "random"}, "algorithm"),
        ({"constraints": []}, "constraints"),
        ({"settings": Settings(12, 4, 4, 6)}, "settings.[a-z]+"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(tmp_path, change, field):
    search(tmp_path, **OPTIONS)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"log of another search: its {field} is"):
        search(tmp_path, **{**OPTIONS, **change})
    assert contents(tmp_path) == before


def test_a_log_whose_lines_do_not_follow_is_refused(tmp_path):
    search(tmp_path, **OPTIONS)
    log = tmp_path / "evaluations.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:3], lines[4], lines[3], *lines[5:]]))
    with pytest.raises(UserError, match="line 4 holds architecture"):
        search(tmp_path, **OPTIONS)


def test_a_log_without_a_value_is_refused(tmp_path):
    search(tmp_path, **OPTIONS)
    log = tmp_path / "evaluations.jsonl"
    log.write_text(log.read_text().replace('"loss": ', '"lost": ', 1))
    with pytest.raises(UserError, match="evaluations.jsonl: line 2 has no number for loss"):
        search(tmp_path, **OPTIONS)


def test_limits_that_exclude_each_other_name_the_nearest_and_leave_no_log(tmp_path):
    limits = [Constraint.parse("params<=2500"), Constraint.parse("flops>=400K")]
    with pytest.raises(UserError) as error:
        search(tmp_path / "a", **{**OPTIONS, "constraints": limits})
    message = str(error.value)
    assert "within the limits params<=2500, flops>=400000 was found: nearest is architecture" in message
    # Nothing is nearer: of all architectures, this one misses the limits least.
    space = mini()

    def missed(arch):
        return sum(limit.violation(COSTS(arch)) for limit in limits)

    nearest = Architecture.from_dict(json.loads(message[message.index("{") :]))
    assert missed(nearest) == min(map(missed, everything(space))) > 0
    assert not (tmp_path / "a" / "evaluations.jsonl").exists()


def test_nothing_found_without_a_limit_of_minutes_names_an_architecture(monkeypatch, tmp_path):
    """Draws may miss what there is within narrow limits; the message must not speak of minutes then."""
    monkeypatch.setattr(Problem, "take", lambda self, genes: False)
    with pytest.raises(UserError, match="within the limits params<=5000 was found: nearest is architecture"):
        search(tmp_path, **OPTIONS)


def test_minutes_that_are_over_at_once(tmp_path):
    with pytest.raises(UserError, match="--minutes 1e-12 were over before the first evaluation"):
        search(tmp_path, minutes=1e-12)


def test_files(tmp_path):
    result = search(tmp_path, **OPTIONS)
    header, *rows = (json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines())
    assert header["signature"]["constraints"] == ["params<=5000"]
    assert header["signature"]["supernet"] == "synthetic"
    for index, row in enumerate(rows):
        arch = Architecture.from_dict(row["architecture"])
        assert row["index"] == index and row["digest"] == arch.digest()
        assert {name: row[name] for name in COSTS(arch)} == COSTS(arch)
        assert row["loss"] == loss_of(arch) and row["nll_loss"] == loss_of(arch) / 3

    best = min(rows, key=lambda row: row["loss"])
    assert Architecture.load(tmp_path / "best.yaml").digest() == best["digest"]
    assert json.loads((tmp_path / "best.json").read_text()) == {**best, "signature": header["signature"]}

    with open(tmp_path / "evaluations.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [(row["digest"], float(row["loss"]), int(row["flops"])) for row in table] == [
        (row["digest"], row["loss"], row["flops"]) for row in rows
    ]
    assert all(Architecture.load(row["architecture"]).digest() == row["digest"] for row in table)
    assert all("supernet:synthetic|" in row["signature"] for row in table)
    for cost in ("flops", "params"):
        front = nondominated(result.evaluations, (cost, "loss"))
        files = sorted((tmp_path / "front").glob(f"{cost}-*.yaml"))
        assert [Architecture.load(file) for file in files] == [e.architecture for e in front]
        assert [int(row["index"]) for row in table if row[f"front_{cost}"] == "1"] == sorted(e.index for e in front)
        listed = [row for row in json.loads((tmp_path / "front.json").read_text())["front"] if row["front"] == cost]
        assert [row["digest"] for row in listed] == [e.architecture.digest() for e in front]
        assert [(row["number"], row["loss"], row[cost]) for row in listed] == [
            (number, e.values["loss"], e.values[cost]) for number, e in enumerate(front, 1)
        ]
        assert all((tmp_path / row["file"]).is_file() for row in listed)
        with open(tmp_path / "front.csv", newline="") as stream:
            lines = [row for row in csv.DictReader(stream) if row["front"] == cost]
        assert [(row["digest"], float(row["loss"])) for row in lines] == [(r["digest"], r["loss"]) for r in listed]
        assert all("supernet:synthetic|" in row["signature"] for row in lines)


def test_fronts_of_a_shorter_run_are_replaced(tmp_path):
    search(tmp_path, **{**OPTIONS, "budget": 30})
    (tmp_path / "front" / "flops-99-000000000000.yaml").write_text("stale")
    (tmp_path / "front" / "mine.txt").write_text("kept")
    result = search(tmp_path, **OPTIONS)
    count = sum(len(nondominated(result.evaluations, (cost, "loss"))) for cost in ("flops", "params"))
    assert len(list((tmp_path / "front").glob("*.yaml"))) == count
    assert (tmp_path / "front" / "mine.txt").exists()


def test_a_budget_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="--budget is 0"):
        search(tmp_path, budget=0)
    with pytest.raises(UserError, match="--minutes is 0"):
        search(tmp_path, minutes=0)


def test_given_architectures_come_first(tmp_path):
    space = mini()
    given = [space.sample(random.Random(3)), space.largest()]
    result = search(tmp_path, algorithm="random", budget=5, given=given)
    assert [e.origin for e in result.evaluations] == ["largest", "smallest", "given", "random", "random"]
    assert result.evaluations[2].architecture == given[0]


def test_minutes_end_a_search_and_more_of_them_continue_it(tmp_path, monkeypatch):
    """Each evaluation takes a minute of a clock that only evaluations move."""
    now = [0.0]
    clocked = partial(Budget, clock=lambda: now[0])
    monkeypatch.setattr("fairseq_mos.search.driver.Budget", clocked)

    def slow(arch):
        now[0] += 60.0
        return {"loss": loss_of(arch), "nll_loss": loss_of(arch)}

    options = {"algorithm": "random", "budget": 40}
    assert len(search(tmp_path / "a", slow, minutes=7, **options).evaluations) == 7
    again = search(tmp_path / "a", slow, minutes=7, **options)
    assert (len(again.evaluations), again.replayed) == (7, 7)
    more = search(tmp_path / "a", slow, minutes=12, **options)
    assert (len(more.evaluations), more.replayed) == (12, 7)
    state = json.loads((tmp_path / "a" / "state.json").read_text())
    times = state.pop("times")
    assert state == {"evaluations": 12, "seconds": 720.0, "finished": True}
    # When there were how many, for the picture of the progress.
    assert times[0] == [1, 60.0] and times[-1] == [12, 720.0] and more.times == times
    whole = search(tmp_path / "b", slow, **options)
    assert [e.architecture for e in whole.evaluations[:12]] == [e.architecture for e in more.evaluations]


def test_a_damaged_state_file_is_named(tmp_path):
    search(tmp_path, **OPTIONS)
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(UserError, match="state.json: malformed JSON.*; remove it"):
        search(tmp_path, **OPTIONS)


def racing(against=None, margin=0.3):
    """Stops what is worse than the incumbent by a margin; its estimate is a little too high."""

    def race(arch, incumbent):
        if against is not None:
            against.append(incumbent)
        worse = loss_of(arch) > loss_of(incumbent) + margin
        return {"loss": loss_of(arch) + 0.01 * worse, "nll_loss": 0.0, "raced": float(worse)}

    return race


def test_racing_cuts_the_clearly_worse_short_and_the_winner_is_measured_in_full(tmp_path):
    against = []
    options = {"settings": OPTIONS["settings"], "budget": 60}
    result = search(tmp_path / "a", race=racing(against), **options)
    plain = search(tmp_path / "b", **options)
    assert [e.architecture for e in result.evaluations] == [e.architecture for e in plain.evaluations]
    assert result.best.architecture == plain.best.architecture and result.best.full
    assert 0 < sum(not e.full for e in result.evaluations) < 60
    # One incumbent a generation: the last of the parents, of which there are four.
    first = sorted(result.evaluations[:12], key=lambda e: (e.values["loss"], e.index))
    assert set(against[:10]) == {first[3].architecture}


def test_the_fronts_are_those_without_racing_and_measured_in_full(tmp_path):
    """The best one of its cost may be clearly worse than the incumbent: it is completed at the end."""
    options = {"algorithm": "random", "budget": 60, "seed": 3}
    completing = Counter()
    raced = search(tmp_path / "a", completing, race=racing(margin=0.05), **options)
    plain = search(tmp_path / "b", **options)
    files = [sorted(f.name for f in (tmp_path / name / "front").iterdir()) for name in "ab"]
    assert files[0] == files[1] and len(files[0]) > 6
    fronts = {e.index for cost in ("flops", "params") for e in nondominated(plain.evaluations, (cost, "loss"))}
    logged = [json.loads(line) for line in (tmp_path / "a" / "evaluations.jsonl").read_text().splitlines()[1:]]
    stopped = {row["index"] for row in logged if row.get("raced")}
    assert fronts & stopped and len({row["digest"] for row in logged}) == 60
    for index in fronts:
        assert raced.evaluations[index].full and raced.evaluations[index].values["loss"] == loss_of(
            raced.evaluations[index].architecture
        )
    assert sum(not e.full for e in raced.evaluations) > 30
    # Run again, nothing is measured anew.
    before, again = contents(tmp_path / "a"), Counter()
    search(tmp_path / "a", again, race=racing(margin=0.05), **options)
    assert again.calls == [] and contents(tmp_path / "a") == before


def latency(predicted_over_measured: float = 0.9):
    """Costs with a latency that follows the parameters, and a meter to which the predictions are too low."""

    class Costs:
        names, predictor = ("params", "flops", "latency_ms"), None

        def __call__(self, arch):
            known = COSTS(arch)
            return {**known, "latency_ms": known["params"] / 1000}

    def measure(arch):
        milliseconds = COSTS(arch)["params"] / 1000 / predicted_over_measured
        return dict.fromkeys(
            ("latency_ms", "low_ms", "high_ms", "clocked_ms", "reference_ms", "recorded_ms"), milliseconds
        )

    return Costs(), measure


def test_winners_that_break_the_limit_leave_the_fronts(tmp_path):
    costs, remeasure = latency()
    limit = Constraint.parse("latency_ms<=4.5")
    options = {"constraints": [limit], "budget": 60, "algorithm": "random", "remeasure": remeasure}
    result = search(tmp_path, costs=costs, race=racing(), **options)
    refuted = {c.evaluation.architecture.digest() for c in result.confirmations if not c.holds}
    assert refuted and result.best.values["latency_ms"] / 0.9 <= 4.5
    listed = json.loads((tmp_path / "front.json").read_text())["front"]
    assert listed and not refuted & {row["digest"] for row in listed}
    with open(tmp_path / "evaluations.csv", newline="") as stream:
        measured = {row["digest"]: row["measured_latency_ms"] for row in csv.DictReader(stream)}
    assert {digest for digest, text in measured.items() if text} == refuted | {result.best.architecture.digest()}


def test_the_tables_are_there_though_no_winner_keeps_the_limit(tmp_path):
    costs, remeasure = latency(0.1)
    options = {"constraints": [Constraint.parse("latency_ms<=4.5")], "budget": 20, "algorithm": "random"}
    with pytest.raises(UserError, match="when measured: the fastest is"):
        search(tmp_path, costs=costs, remeasure=remeasure, **options)
    assert (tmp_path / "evaluations.csv").is_file() and (tmp_path / "front.csv").is_file()
    assert not (tmp_path / "best.yaml").exists()


@pytest.mark.parametrize("value", [-1.0, 0, 1e200, "9", None])
def test_a_log_with_an_impossible_latency_is_refused(tmp_path, value):
    """A latency of -1 ms would keep every limit."""
    costs, _ = latency()
    options = {"budget": 5, "algorithm": "random", "costs": costs}
    search(tmp_path, **options)
    log = tmp_path / "evaluations.jsonl"
    lines = log.read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), "latency_ms": value})
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="evaluations.jsonl: line 4: latency_ms is .* expected 1e-06 to 1e.09 mill"):
        search(tmp_path, **options)
