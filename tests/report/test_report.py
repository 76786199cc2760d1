"""`fairseq-mos report`: a page without network, whose parts come from the run's files."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos.arch import Architecture
from fairseq_mos.cli import main
from fairseq_mos.export.checkpoint import extract_checkpoint
from fairseq_mos.models.opening import open_model
from fairseq_mos.report.architecture_picture import architecture_svg
from fairseq_mos.report.commands import wrapped
from fairseq_mos.report.discover import RunFolder
from fairseq_mos.report.mixes import expert_mixes
from fairseq_mos.report.records import read_search
from fairseq_mos.report.scored import spread
from fairseq_mos.report.trained import _facts
from fairseq_mos.search.plots import cost_axis
from tests import toy
from tests.arch.samples import ARCHITECTURE, mini
from tests.report.runs import BEST, HEADER, put, whole
from tests.small import Small, small_supernet

VALID = '2026 | INFO | valid | {"valid_loss": "%s", "valid_num_updates": "%d"}'
INNER = '2026 | INFO | train_inner | {"loss": "%s", "num_updates": "%d", "train_wall": "3"}'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder: a supernet, two searches' worth of files, logs, scores."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "supernet").mkdir()
    small: Small = small_supernet(folder / "supernet")
    (folder / "supernet" / "supernet.pt").rename(folder / "supernet" / "averaged.pt")
    path = str(folder / "supernet" / "averaged.pt")
    best = small.space.sample(random.Random(4))
    rows = []
    for index, loss in enumerate((5.0, 4.5, 4.7, 4.2)):
        record = {"index": index, "digest": best.digest(), "params": 1000 + index, "flops": 2e6 - index, "loss": loss}
        rows.append({**record, "latency_ms": 10.0 + index, "raced": float(index == 2), "architecture": best.to_dict()})
    signature = {"algorithm": "evolution", "objectives": ["loss"], "seed": 1, "split": "valid", "space": "toy-1"}
    signature["constraints"] = ["latency_ms<=20"]
    search = folder / "search"
    search.mkdir()
    header = {"fairseq_mos_search": 1, "signature": signature, "path": path, "data": str(folder / "supernet")}
    (search / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [header, *rows]))
    measured = {"digest": "abc", "predicted": 13.0, "measured": 13.5, "low": 13.0, "high": 14.0, "holds": True}
    (search / "best.json").write_text(json.dumps({**rows[3], "measured": [measured]}))
    logs = folder / "logs"
    logs.mkdir()
    for name, losses in (("supernet", (6, 5)), ("scratch", (7, 5.5)), ("retrained", (5.4, 5.0))):
        lines = [f"$ fairseq-train {folder}/data --save-dir x <{name}>"]
        for number, loss in enumerate(losses, 1):
            lines += [INNER % (loss, 100 * number), VALID % (loss, 100 * number)]
        (logs / f"train-{name}.log").write_text("\n".join(lines) + "\n")
    (logs / "run.log").write_text(f"$ bash examples/multi30k/run.sh --output {folder}\n" * 2)
    arguments = ["evaluate", "--path", path, "--architecture", "smallest", "--test-set", str(folder / "supernet/test")]
    assert main([*arguments, "--cpu", "--beam", "1", "--bootstrap", "0", "--output", str(folder / "scores")]) == 0
    return folder


class _Checker(HTMLParser):
    """Collects what a browser would load, and checks that tags are closed."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open, self.ids = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.loaded += [values[name] for name in ("src", "data", "poster") if name in values]
        if tag in ("link", "script", "img", "iframe"):
            self.loaded.append(tag)
        self.loaded += [v for k, v in values.items() if k in ("href", "xlink:href") and not v.startswith("#")]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_one_page_with_everything_and_no_network(run, tmp_path, capsys):
    output = tmp_path / "page.html"
    assert main(["report", str(run), "--output", str(output), "--title", "A <run>"]) == 0
    page = output.read_text("utf-8")
    checker = _Checker()
    checker.feed(page)
    assert [address for address in checker.loaded if not address.startswith("data:")] == []
    assert checker.open == [] and len(checker.ids) == len(set(checker.ids))
    assert "url(http" not in page and "@import" not in page
    assert "<title>A &lt;run&gt;</title>" in page and "&lt;supernet&gt;" in page
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:4] == ["What was trained", "Scores", "Search", "Retraining"]
    assert titles[4:] == ["Training", "Experts", "Example translations", "Commands"]
    for text in (
        "<dt>languages</dt><dd>en to de</dd>",
        "<dt>dictionaries</dt><dd>55 and 55 entries</dd>",
        "<dt>routing</dt><dd>neuron</dd>",
        "<dt>experts</dt><dd>2</dd>",
        "<dt>embeddings</dt><dd>one table for encoder, decoder and output</dd>",
        "<dt>data</dt><dd>RUN/supernet</dd>",
        "<dt>seed</dt><dd>1</dd>",
        "supernet:smallest",
        "nrefs:1|case:mixed",
        "13.50 ms",
        "retraining saves",
        "50%",
        "4 architectures evaluated",
        '<p class="caption">Signature: algorithm:evolution|objectives:loss|seed:1',
    ):
        assert text in page, text
    commands = page[page.index("<h2>Commands") :]
    assert str(run) not in commands and "fairseq-train RUN/data" in commands
    assert "<pre>bash examples/multi30k/run.sh --output RUN\n\n" in commands and commands.count("run.sh") == 1
    markdown = (tmp_path / "page.md").read_text("utf-8")
    pictures = re.findall(r"\]\((page-pictures/[^)]+)\)", markdown)
    assert len(pictures) == page.count("<figure>") >= 7
    for name in pictures:
        ElementTree.parse(tmp_path / name)
    assert capsys.readouterr().out.startswith(f"wrote {output}")


def test_the_comparison_alone(run, tmp_path, capsys):
    assert main(["report", str(run), "--retrain", "--output", str(tmp_path / "r.json")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["target_loss"], found["scratch_updates"], found["retrained_updates"]) == (5.5, 200, 100)
    assert found["saved_updates"] == 0.5 and "50% fewer updates" in capsys.readouterr().out
    logs = run / "logs"
    other = ["--scratch", str(logs / "train-supernet.log"), "--retrained", str(logs / "train-retrained.log")]
    assert main(["report", str(run), "--retrain", "--output", str(tmp_path / "s.json"), *other]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["target_loss"] == 5


@pytest.mark.parametrize("name", ["scores/scores.json", "search/best.json", "search/state.json"])
def test_nothing_of_a_run_is_overwritten(run, tmp_path, capsys, name):
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / name
    if name == "search/state.json":
        file.write_text("{}")
    before = file.read_bytes()
    assert main(["report", str(tmp_path / "run"), "--retrain", "--output", str(file)]) == 2
    assert f"writing {file} would overwrite {file}, which is read" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_report_is_written_again(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for _ in range(2):
        assert main(["report", str(tmp_path / "run"), "--retrain"]) == 0


def test_a_part_of_a_run(run, tmp_path):
    """Logs alone make a page too."""
    (tmp_path / "train-x.log").write_text((run / "logs" / "train-scratch.log").read_text())
    assert main(["report", str(tmp_path)]) == 0
    titles = re.findall(r"<h2>(.*?)</h2>", (tmp_path / "report.html").read_text("utf-8"))
    assert titles == ["Training", "Commands"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is no folder"),
        (["{empty}"], "holds nothing to report on"),
        (["{run}", "--supernet", "nothing.pt"], "checkpoint nothing.pt does not exist"),
        (["{run}", "--scratch", "a.log"], "--scratch and --retrained belong together"),
        (["{run}", "--output", "{empty}/x.pdf"], "without --retrain, expected a file that ends in .html"),
        (["{run}", "--output", "{empty}/x.json"], "without --retrain, expected a file that ends in .html"),
        (["{run}", "--retrain", "--output", "{empty}/x.html"], "with --retrain, expected a file that ends in .json"),
        (["{run}", "--output", "/dev/null/x.html"], "cannot write /dev/null: /dev/null is a file, expected a folder"),
        (["{empty}", "--retrain", "--scratch", "a.log", "--retrained", "b.log"], "cannot read a.log: No such file"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, arguments, message):
    places = {"run": run, "empty": tmp_path}
    assert main(["report", *(argument.format(**places) for argument in arguments)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_long_commands_break_before_flags_and_can_be_pasted():
    command = "fairseq-train " + " ".join(f"--flag-{n} 'a --b' {n} \"x  y\" -1" for n in range(9)) + " > out.txt"
    text = wrapped(command)
    assert all(len(line) <= 106 for line in text.split("\n")) and text.count(" \\\n    --flag-") == 2
    assert shlex.split(text.replace("\\\n", "")) == shlex.split(command)
    assert wrapped("fairseq-mos user-dir") == "fairseq-mos user-dir"


@pytest.fixture
def damaged(run, tmp_path):
    """Returns a function that copies the run, writes a file of the copy anew and reports on it."""

    def report(name, content, *arguments):
        folder = shutil.copytree(run, tmp_path / "copy")
        (folder / name).write_text(content)
        return main(["report", str(folder), *arguments])

    return report


def _changed(run, name, **values):
    """The first line of a JSON file with other values, or without a field whose value is None."""
    lines = (run / name).read_text().splitlines()
    found = {**json.loads(lines[0]), **values}
    return "\n".join([json.dumps({key: v for key, v in found.items() if v is not None}), *lines[1:]]) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scores/scores.json", "[{}]", "scores.json: row 1: object missing required field test_set"),
        ("scores/scores.json", "[1, 2]", "scores.json: row 1: expected object, got int"),
        ("scores/scores.json", "{}", "scores.json: expected array, got object"),
        ("search/best.json", {"params": None}, "best.json: object missing required field params"),
        ("search/best.json", {"loss": "low"}, "best.json: loss: expected float | null, got str"),
        ("search/best.json", {"measured": [{}]}, "best.json: measured[0]: object missing required field predicted"),
        ("search/evaluations.jsonl", {"signature": {}}, "line 1: signature: object missing required field algorithm"),
        ("search/evaluations.jsonl", {"signature": None}, "line 1: object missing required field signature"),
    ],
)
def test_damaged_files_are_named(run, damaged, capsys, name, content, message):
    assert damaged(name, content if isinstance(content, str) else _changed(run, name, **content)) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_search_without_evaluations(run, damaged, capsys):
    assert damaged("search/evaluations.jsonl", _changed(run, "search/evaluations.jsonl").splitlines()[0] + "\n") == 2
    assert "evaluations.jsonl holds no evaluation, but " in capsys.readouterr().err


def test_a_supernet_that_is_none(run, damaged, tmp_path, capsys):
    path = str(run / "supernet" / "averaged.pt")
    extract_checkpoint(path, "largest", str(tmp_path / "subnet.pt"))
    output = ["--output", str(tmp_path / "x.html")]
    assert main(["report", str(run), "--supernet", str(tmp_path / "subnet.pt"), *output]) == 2
    assert "subnet.pt is no supernet: its model is mos_subnet" in capsys.readouterr().err
    broken = tmp_path / "copy" / "supernet" / "averaged.pt"
    header = _changed(run, "search/evaluations.jsonl", path=str(broken))
    folder = shutil.copytree(run, tmp_path / "copy")
    broken.write_bytes(b"nothing")
    (folder / "search" / "evaluations.jsonl").write_text(header)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert "averaged.pt is truncated or not a checkpoint" in page and "<h2>Experts" not in page


def test_a_configuration_with_other_types(run):
    opened = open_model(run / "supernet" / "averaged.pt")
    state = opened.state
    config = OmegaConf.to_container(state["cfg"], enum_to_str=True)
    config["optimization"].update(lr="fast", update_freq="often")
    config["lr_scheduler"] = {"_name": 5, "warmup_updates": "many"}
    config["distributed_training"]["distributed_world_size"] = "two"
    config["dataset"]["max_tokens"] = "all"
    for history in ([], {}, ["x"], [{"num_updates": "12"}]):
        state = {**state, "cfg": OmegaConf.create(config), "optimizer_history": history}
        facts = _facts(state, opened.space, RunFolder(run, supernet=run / "supernet" / "averaged.pt"))
    assert facts["learning rate"] == "fast, 5, warm-up many" and facts["updates"] == "12"
    assert facts["tokens a batch"] == "all at most x two processes x often accumulated"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "sandwich: largest, smallest and 1 random"),
        ({"arch_own_batches": True}, "sandwich: largest, smallest and 1 random, each on batches of its own"),
        ({"arch_sampling": "uniform", "num_random_archs": 3, "arch_fair": True}, "uniform: 3 fair"),
        ({"arch_sampling": "uniform", "num_random_archs": "some"}, "uniform: some random"),
        ({"arch_sampling": "uniform", "num_random_archs": None}, "uniform"),
    ],
)
def test_what_an_update_trains(run, options, told):
    opened = open_model(run / "supernet" / "averaged.pt")
    config = OmegaConf.to_container(opened.state["cfg"], enum_to_str=True)
    config["task"].update({"arch_sampling": "sandwich", "num_random_archs": 1, **options})
    state = {**opened.state, "cfg": OmegaConf.create(config)}
    facts = _facts(state, opened.space, RunFolder(run, supernet=run / "supernet" / "averaged.pt"))
    assert facts["architectures of an update"] == told


def test_names_with_dots_and_marks(tmp_path):
    (tmp_path / "train-x.log").write_text(INNER % (5, 100))
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "v1.2.html"), "--title", "A <b> | c"]) == 0
    assert {"v1.2.html", "v1.2.md", "v1.2-pictures"} <= {file.name for file in tmp_path.iterdir()}
    assert (tmp_path / "v1.2.md").read_text().startswith("# A &lt;b> \\| c\n")


def test_two_pages_in_one_process_are_equal(tmp_path):
    """Names within pictures depend on their place on the page, not on what was drawn before."""
    folder = whole(tmp_path / "run")
    pages = []
    for name in ("a", "b"):
        assert main(["report", str(folder), "--output", str(tmp_path / f"{name}.html")]) == 0
        pages.append((tmp_path / f"{name}.html").read_text("utf-8"))
    assert pages[0] == pages[1] and 'id="search-' in pages[0] and "url(#search-" in pages[0]


def test_limits_and_measurements_of_a_search_are_shown(tmp_path):
    """A limit that is none, as only a log of another program has, is left out of the picture."""
    folder = whole(tmp_path)
    limits = ["latency_ms<=20", "size<3"]
    header = {**HEADER, "signature": {**HEADER["signature"], "constraints": limits}}
    broken = {**BEST["measured"][0], "digest": "other", "holds": False}
    put(folder, "search/evaluations.jsonl", [header, BEST, {**BEST, "index": 1, "digest": "other"}])
    best = {**BEST, "measured": [broken, *BEST["measured"]], "architecture": mini().smallest().to_dict()}
    put(folder, "search/best.json", best)
    shown = read_search(folder / "search" / "evaluations.jsonl").shown
    assert [str(limit) for limit in shown.limits] == limits[:1] and shown.refuted == {1}
    assert cost_axis(shown) == "latency_ms" and shown.confirmed == (9.5, 9.25, 9.75)


def test_mixes_are_the_routers(run):
    supernet = open_model(run / "supernet" / "averaged.pt").model
    largest, smallest = supernet.space.largest(), supernet.space.smallest()
    found = expert_mixes(supernet, {"a": largest, "b": smallest})
    assert found.places[:2] == ["encoder 1 fc1", "encoder 1 fc2"] and found.experts == 2
    supernet.activate(smallest)
    with torch.no_grad():
        mix = supernet.encoder.layers[0].ffn.fc2.effect().mix[:, 0]
    assert found.mean[1][1] == pytest.approx(float(mix.mean()))
    assert found.spread[1][1] == pytest.approx(float(mix.std(correction=0)), abs=1e-6)
    assert found.mean[-1][1] is None and found.mean[-1][0] is not None
    assert expert_mixes(toy.supernet("shared", num_experts=1).eval(), {"a": largest}) is None
    layer = expert_mixes(toy.supernet("layer").eval(), {"a": largest})
    assert layer.spread[0] == [0.0] and layer.mean[0] == layer.mean[1]


def test_the_picture_of_an_architecture():
    architecture = Architecture.from_dict(ARCHITECTURE)
    text = architecture_svg(architecture)
    ElementTree.fromstring(text)
    assert "encoder: width 96 of 96, 3 of 3 layers" in text and "cross 4, last 3" in text
    # The longest label ends before the picture does.
    width = float(re.search(r'viewBox="0 0 (\d+)', text).group(1))
    labels = re.findall(r'<text x="([\d.]+)"[^>]*>(\d heads, cross[^<]*)', text)
    assert all(float(place) + 6.7 * len(label) < width for place, label in labels) and len(labels) == 2
    # Layer by layer a frame and a bar, and a square for each head.
    bars = 2 * (3 + 2)
    heads = sum(architecture.encoder.self_attention_heads) + sum(architecture.decoder.self_attention_heads)
    assert text.count("<rect") == bars + heads + 3


def test_examples_are_spread_over_the_test_set():
    assert spread(100) == [12, 37, 62, 87]
    assert spread(2) == [0, 1] and spread(0) == []
