"""`fairseq-mos search` as a user meets it."""

from __future__ import annotations

import json
import shlex

import pytest

from fairseq_mos.arch import Architecture
from fairseq_mos.cli import main
from fairseq_mos.search.provenance import file_sha256


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
    before = file_sha256(trained.path)
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

    files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    code, out, _ = search(*options)
    assert code == 0 and "16 architectures evaluated, 16 of them by an earlier run" in out
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == files
    assert file_sha256(trained.path) == before

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
        (["--valid-subset", "nothing"], "split 'nothing' of"),
    ],
)
def test_mistakes_end_with_one_line_and_exit_code_2(search, tmp_path, arguments, message):
    code, out, err = search(*arguments)
    lines = [line for line in err.replace("\r", "\n").splitlines() if line]
    assert code == 2 and out == ""
    assert len(lines) == 1 and lines[0].startswith("fairseq-mos: error: ") and message in lines[0]
    assert not (tmp_path / "my search").exists()


def test_a_folder_of_another_search_is_refused(search):
    assert search("--algorithm", "random", "--budget", "3")[0] == 0
    code, _, err = search("--algorithm", "random", "--budget", "3", "--seed", "2")
    assert code == 2 and "is the log of another search: its seed is 1, now it is 2" in err


def test_an_unwritable_output(search, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = search(output=tmp_path / "file" / "out")
    assert code == 2 and "cannot write" in err
