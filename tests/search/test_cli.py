"""`fairseq-mos search` as a user meets it."""

from __future__ import annotations

import json
import shlex
import socket
import statistics
import subprocess
import sys

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.cli import main
from fairseq_mos.download import file_digest
from fairseq_mos.search.plan import Plan
from tests.arch.samples import mini
from tests.fairseq_commands import run

TWO_RANKS = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture
def search(trained, tmp_path, capsys):
    """Returns a function that runs the verb and returns exit code, standard output and standard error."""

    def run(*arguments, output=tmp_path / "my search"):
        command = ["search", str(trained.data), "--path", str(trained.path), "--output", str(output), "--cpu"]
        code = main([*command, *arguments])
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("algorithm", ["random", "evolution"])
def test_search_then_the_printed_command(trained, search, tmp_path, algorithm):
    before = file_digest(trained.path)
    options = ("--algorithm", algorithm, "--budget", "16", "--seed", "3", "--constraint", "flops<=1.5M")
    code, out, err = search(*options)
    assert code == 0
    assert "16/16" in err and "best loss" in err
    assert ("scaled down to population 4, parents 2" in err) == (algorithm == "evolution")
    folder = tmp_path / "my search"
    rows = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()][1:]
    assert len({row["digest"] for row in rows}) == 16 and all(row["flops"] <= 1.5e6 for row in rows)
    best = min(rows, key=lambda row: row["loss"])
    table = {line.split()[0]: line for line in out.splitlines()}
    assert f"{best['params']:,}" in table["best"] and f"{best['loss']:.4f}" in table["best"]
    assert table["largest"].split()[-2:] == ["-", "-"]
    assert f"{rows[0]['loss']:.4f}" in table["smallest"] and rows[0]["origin"] == "smallest"
    assert "signature: space:toy-" in out

    def contents():
        # The state file holds the running time.
        return {f: f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name != "state.json"}

    files = contents()
    assert folder / "pareto.png" in files and folder / "progress.png" in files
    code, out, _ = search(*options)
    assert code == 0 and "16 architectures evaluated, 16 of them by an earlier run" in out
    assert contents() == files
    assert file_digest(trained.path) == before

    command = shlex.split(out.splitlines()[-1])
    assert command[:2] == ["fairseq-mos", "extract"] and main(command[1:]) == 0
    assert Architecture.load(folder / "best.yaml").digest() == best["digest"]
    assert (folder / "best.pt").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--constraint", "params<=10"], "params<=10 cannot be met: the smallest reachable value is "),
        (["--constraint", "size<=10"], "--constraint 'size<=10': expected VARIABLE OPERATOR NUMBER"),
        (["--budget", "0"], "--budget is 0"),
        (["--parents", "200"], "--parents is 200"),
        (["--valid-subset", "nothing"], "has no nothing set of a-b as binarised data"),
        (["--minutes", "-1"], "--minutes is -1"),
        (["--objectives", "loss,size"], "--objectives: 'size' is unknown, allowed: loss, "),
        (["--objectives", "flops,loss"], "--objectives flops,loss: the first one chooses the winner"),
        (["--latency-runs", "3"], "--latency-runs is 3, allowed: 4 to"),
        (["--distributed-world-size", "0"], "--distributed-world-size is 0"),
        (["--distributed-rank", "0"], "--distributed-rank needs --distributed-init-method"),
        (["--distributed-init-method", "file://x"], "--distributed-init-method is 'file://x'"),
        (
            ["--distributed-init-method", "tcp://localhost:1", "--distributed-world-size", "2"],
            "--distributed-rank is None, allowed: 0 to 1",
        ),
        (["--constraint", "latency_ms<=9"], "--constraint latency_ms<=9 needs --latency-predictor"),
        (["--algorithm", "nsga2"], "--algorithm nsga2 needs several --objectives"),
        (["--algorithm", "exhaustive"], "--algorithm exhaustive is for small spaces"),
        (["--start", "random:1", "--constraint", "params<=40K"], "--start random:1: the architecture breaks"),
        (["--bf16"], "--bf16 needs a GPU"),
        (["--objectives", "bleu", "--post-process", "foo"], "--post-process is 'foo', allowed: sentencepiece, "),
        (["--threads", "0"], "--threads is 0, allowed: 1 to 1,024"),
        (["--latency-predictor", "nothing.json"], "nothing.json: cannot read the latency predictor: No such file"),
    ],
)
def test_mistakes_end_with_one_line_and_exit_code_2(search, tmp_path, arguments, message):
    code, out, err = search(*arguments)
    lines = [line for line in err.replace("\r", "\n").splitlines() if line]
    assert code == 2 and out == ""
    assert len(lines) == 1 and lines[0].replace(" search:", ":").startswith("fairseq-mos: error: ")
    assert message in lines[0]
    assert not (tmp_path / "my search").exists()


def test_a_larger_budget_continues_an_evolution_of_scaled_sizes(search, tmp_path):
    assert search("--budget", "12")[0] == 0
    log = tmp_path / "my search" / "evaluations.jsonl"
    before = log.read_bytes()
    code, out, err = search("--budget", "20")
    assert code == 0 and "20 architectures evaluated, 12 of them by an earlier run" in out
    assert "a budget of 12 is small for a population of 125: scaled down to population 3" in err
    assert log.read_bytes().startswith(before)


def test_nothing_but_our_lines_on_the_terminal(trained, tmp_path):
    """Importing fairseq lets every library's debug messages through."""
    arguments = ["search", str(trained.data), "--path", str(trained.path), "--cpu", "--budget", "4"]
    done = run([sys.executable, "-m", "fairseq_mos.cli", *arguments, "--output", str(tmp_path / "one")], tmp_path)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line.strip()]
    ours = ("search", "a budget of 4 is small", "measuring in full")
    assert lines and all(line.startswith(ours) for line in lines), lines[:5]


def test_nsga2_with_translation_scores(search, tmp_path):
    options = ("--algorithm", "nsga2", "--objectives", "bleu,chrf,flops", "--beam", "2", "--budget", "12")
    # A population that is smaller than the evolution's number of parents, which NSGA-II has not.
    code, out, err = search(*options, "--population", "6")
    assert code == 0 and "best bleu" in err and "BLEU" in out and "nrefs:1|case:mixed|eff:no|tok:13a" in out
    folder = tmp_path / "my search"
    rows = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()][1:]
    assert len(rows) == 12 and max(row["chrf"] for row in rows) > 0
    assert list((folder / "front").glob("pareto-01-*.yaml"))
    front = [row for row in json.loads((folder / "front.json").read_text())["front"] if row["front"] == "pareto"]
    table = [line.split() for line in out.splitlines() if line.startswith("front ")]
    assert [row["digest"] for row in front][:10] == [line[2].strip("()") for line in table] or len(front) > 10
    assert len(table) == min(10, len(front))
    best = Architecture.load(folder / "best.yaml").digest()
    assert best in {row["digest"] for row in rows if row["bleu"] == max(r["bleu"] for r in rows)}


def test_under_a_latency_limit_the_winner_is_measured(trained, search, tmp_path, capsys):
    """Measured, fitted, searched: the whole way on this machine."""
    data, predictor = str(tmp_path / "latency.jsonl"), str(tmp_path / "predictor.json")
    flags = ["--threads", "1", "--runs", "4", "--warmup", "1", "--source-tokens", "5", "--target-tokens", "5"]
    measure = ["latency-dataset", "--path", str(trained.path), "--data", str(trained.data), "--samples", "24"]
    assert main([*measure, "--output", data, *flags]) == 0
    assert main(["fit-latency", "--dataset", data, "--output", predictor, "--model", "linear"]) == 0
    out = capsys.readouterr().out
    assert "90 % of the errors from" in out and f"--latency-predictor {predictor} --threads 1 --constraint" in out
    rows = [json.loads(line) for line in (tmp_path / "latency.jsonl").read_text().splitlines()][1:]
    limit = 2 * max(row["median_ms"] for row in rows)
    options = ("--latency-predictor", predictor, "--threads", "1", "--budget", "12", "--confirm-runs", "4")
    code, out, err = search(*options, "--constraint", f"latency_ms<={limit}", "--objectives", "loss,latency_ms")
    assert code == 0
    folder = tmp_path / "my search"
    best = json.loads((folder / "best.json").read_text())
    assert best["measured"][-1]["holds"] and best["measured"][-1]["measured"] <= limit
    assert f"measured {best['digest']}" in out and "ms (predicted)" in out
    # Both are printed: relative to the data set's reference, which decides, and by the clock.
    recorded = statistics.median(row["median_ms"] for row in rows if row["role"] == "reference")
    (line,) = (line for line in out.splitlines() if line.startswith("measured"))
    assert "relative to the reference, predicted" in line and f"in the data set {recorded:.2f} ms" in line
    winner = best["measured"][-1]
    assert f"by the clock {winner['clocked']:.2f} ms, the reference {winner['reference']:.2f} ms" in line
    assert winner["recorded"] == pytest.approx(recorded) and "records no reference" not in err
    assert list((folder / "front").glob("latency_ms-01-*.yaml"))
    code, _, err = search(*options, "--constraint", "latency_ms<=0.001", output=tmp_path / "other")
    assert code == 2 and "cannot be met: the smallest reachable value is" in err
    other = ("--threads", "2", "--constraint", f"latency_ms<={limit}")
    code, _, err = search(*options, *other, output=tmp_path / "other")
    assert code == 2 and not (tmp_path / "other").exists()
    assert "was fitted for threads 1, here it is 2: give --threads 1, fit one here, or give --any-device" in err
    assert search(*options, *other, "--any-device", output=tmp_path / "any")[0] == 0
    # A file of an earlier version is still read, and what stands in for the reference is said.
    content = json.loads((tmp_path / "predictor.json").read_text())
    del content["reference"]
    (tmp_path / "predictor.json").write_text(json.dumps(content))
    code, _, err = search(*options, "--constraint", f"latency_ms<={limit}", output=tmp_path / "old")
    assert code == 0 and "records no reference (an earlier version's file): winners are compared with" in err


def test_latency_is_measured_where_there_is_no_predictor(search, tmp_path):
    options = ("--objectives", "loss,latency_ms", "--latency-runs", "4", "--algorithm", "random")
    code, out, _ = search(*options, "--budget", "4")
    assert code == 0 and "latency_protocol:hat" in out and "ms (measured)" in out
    log = tmp_path / "my search" / "evaluations.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert rows[0]["signature"]["latency_beam"] == 5
    assert all(0 < row["low_ms"] <= row["latency_ms"] <= row["high_ms"] for row in rows[1:])
    # Continued, the search takes the latencies of its log instead of measuring again.
    code, out, _ = search(*options, "--budget", "6")
    assert code == 0 and "4 of them by an earlier run" in out
    again = [json.loads(line) for line in log.read_text().splitlines()]
    assert again[:5] == rows and len(again) == 7
    assert list((tmp_path / "my search" / "front").glob("pareto-*.yaml"))


def test_two_ranks_find_what_one_process_finds(trained, tmp_path):
    """The same files, bit for bit, from two gloo processes."""
    arguments = ["search", str(trained.data), "--path", str(trained.path), "--cpu", "--budget", "15"]
    arguments += ["--algorithm", "evolution", "--max-tokens", "10"]
    assert main([*arguments, "--output", str(tmp_path / "one")]) == 0
    run([*TWO_RANKS, "-m", "fairseq_mos.cli", *arguments, "--output", str(tmp_path / "two")], tmp_path)
    for name in ("evaluations.jsonl", "evaluations.csv", "best.yaml", "best.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_distributed_world_size_starts_the_ranks(trained, tmp_path):
    """fairseq's flag finds what one process finds; a mistake is one line, exit code 2."""
    arguments = ["search", str(trained.data), "--path", str(trained.path), "--cpu", "--budget", "9"]
    arguments += ["--algorithm", "random", "--max-tokens", "10"]
    assert main([*arguments, "--output", str(tmp_path / "one")]) == 0
    spawn = [sys.executable, "-m", "fairseq_mos.cli", *arguments, "--distributed-world-size", "2"]
    done = run([*spawn, "--output", str(tmp_path / "two")], tmp_path)
    assert done.stdout.count("9 architectures evaluated") == 1
    for name in ("evaluations.jsonl", "evaluations.csv", "best.yaml", "best.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    done = run([*spawn, "--constraint", "params<=10", "--output", str(tmp_path / "three")], tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "fairseq-mos: error: constraint params<=10 cannot be met" in done.stderr
    assert not (tmp_path / "three").exists()


def test_ranks_of_several_nodes_meet(trained, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        method = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    arguments = ["search", str(trained.data), "--path", str(trained.path), "--cpu", "--budget", "6"]
    arguments += ["--algorithm", "random", "--output", str(tmp_path / "two")]
    command = [sys.executable, "-m", "fairseq_mos.cli", *arguments]
    command += ["--distributed-world-size", "2", "--distributed-init-method", method, "--distributed-rank"]
    with subprocess.Popen([*command, "1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as other:
        done = run([*command, "0"], tmp_path)
        printed, _ = other.communicate(timeout=60)
    assert other.returncode == 0 and printed == "" and "6 architectures evaluated" in done.stdout


def test_two_ranks_do_not_measure_latency_side_by_side(trained, tmp_path):
    arguments = ["search", str(trained.data), "--path", str(trained.path), "--cpu", "--objectives", "loss,latency_ms"]
    command = [*TWO_RANKS, "-m", "fairseq_mos.cli", *arguments, "--output", str(tmp_path / "two")]
    done = run(command, tmp_path, check=False)
    assert done.returncode != 0 and "2 processes would disturb each other" in done.stderr


def test_a_mistake_on_two_ranks_ends_both(trained, tmp_path):
    arguments = ["search", str(trained.data), "--path", str(trained.path), "--cpu", "--constraint", "params<=10"]
    command = [*TWO_RANKS, "-m", "fairseq_mos.cli", *arguments, "--output", str(tmp_path / "two")]
    done = run(command, tmp_path, check=False)
    assert done.returncode != 0 and "params<=10 cannot be met" in done.stderr
    assert not (tmp_path / "two").exists()


def test_what_is_left_is_said(tmp_path):
    """An exhaustive search that its budget ended is no exhaustive one."""
    from fairseq_mos.cli.search import _notes
    from tests.search.synthetic import COSTS, Counter
    from tests.search.synthetic import search as synthetic

    options = {"algorithm": "exhaustive", "budget": 20}
    plan = Plan(space=mini(), costs=COSTS, evaluate=Counter(), measured={}, **options)
    notes = _notes(plan, synthetic(tmp_path, **options))
    assert notes == [
        "20 architectures evaluated, 0 of them by an earlier run",
        f"the space has {mini().size():,} architectures: a larger --budget goes on through the others",
    ]


def test_a_folder_of_another_search_is_refused(search):
    assert search("--algorithm", "random", "--budget", "3")[0] == 0
    code, _, err = search("--algorithm", "random", "--budget", "3", "--seed", "2")
    assert code == 2 and "is the log of another search: its seed is 1, now it is 2" in err


def test_an_unwritable_output(search, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = search(output=tmp_path / "file" / "out")
    assert code == 2 and "cannot write" in err
