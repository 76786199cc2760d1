"""Search by a proxy task: what a short fine-tuning of a candidate scores, against fairseq-train's own."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from omegaconf import OmegaConf

from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import write_checkpoint
from fairseq_mos.families.masked_lm.proxy import ProxyScorer
from fairseq_mos.families.masked_lm.sentences import HEAD, predictions
from fairseq_mos.metrics.glue import SENTENCES, glue_scores
from fairseq_mos.models.loading import load_state
from fairseq_mos.models.opening import open_model, subnet_config
from fairseq_mos.search.scoring import ProxyOptions
from tests import fairseq_commands, glue_toy
from tests.families.masked_lm import kit
from tests.families.masked_lm.files import write_supernet

sys.path.insert(0, str(fairseq_commands.ROOT / "examples"))
from glue.arguments import parse  # noqa: E402
from glue.preparing import prepare  # noqa: E402
from glue.tasks import TASKS  # noqa: E402
from pipeline import commands  # noqa: E402

WORDS = [f"word{number}" for number in range(kit.VOCABULARY - 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A supernet (`supernet.pt`), data to search on (`bin`), SST-2 and STS-B with its words (`work/data`)."""
    folder, patch = tmp_path_factory.mktemp("proxy"), pytest.MonkeyPatch()
    write_supernet(folder, dropout=0.1, attention_dropout=0.1)
    patch.setattr(commands, "run", glue_toy.forked)
    glue_toy.write_sst(folder / "raw", words=WORDS)
    glue_toy.write_sts(folder / "raw", words=WORDS)
    words = f"prepare --output {folder}/work --data {folder}/raw --dict {folder}/dict.txt --bpe none --length 20"
    prepare(parse(words.split()))
    patch.undo()
    (folder / "valid").write_text("".join(f"{line}\n" for line in glue_toy.sentences(9, WORDS, 5)))
    words = f"--only-source --validpref {folder}/valid --srcdict {folder}/dict.txt --destdir {folder}/bin"
    glue_toy.forked("fairseq_cli.preprocess", words.split(), folder / "log", 1)
    return folder


@pytest.fixture(scope="module")
def supernet(folder):
    return open_model(folder / "supernet.pt").model


def _scorer(folder, supernet, task: str = "SST-2", **options) -> ProxyScorer:
    values = {"updates": 9, "lr": 0.01, "batch_size": 8, "seed": 3, **options}
    return ProxyScorer(supernet, ProxyOptions(data=str(folder / "work" / "data" / task), **values))


@pytest.mark.parametrize("task", ["SST-2", "STS-B"])
def test_it_is_what_fairseq_train_does_with_the_extracted_subnet(folder, supernet, task, tmp_path):
    scorer, arch = _scorer(folder, supernet, task), supernet.space.smallest()
    start = supernet.extract(arch)
    torch.manual_seed(3)
    start.register_classification_head(HEAD, num_classes=scorer.task.cfg.num_classes)
    arch.save(tmp_path / "arch.yaml")
    config = subnet_config(OmegaConf.create(load_state(folder / "supernet.pt")["cfg"]), arch, supernet.space)
    write_checkpoint(tmp_path / "start.pt", start, config)
    words = f"""{scorer.task.cfg.data} --user-dir fairseq_mos --task sentence_prediction --arch mos_roberta_subnet
        --criterion sentence_prediction --num-classes {scorer.task.cfg.num_classes} --init-token 0 --separator-token 2
        --max-positions 20 --subnet {tmp_path}/arch.yaml --finetune-from-model {tmp_path}/start.pt --optimizer adam
        --lr 0.01 --lr-scheduler polynomial_decay --total-num-update 9 --max-update 9 --clip-norm 0 --batch-size 8
        --required-batch-size-multiple 1 --dropout 0.1 --attention-dropout 0.1 --seed 3 --cpu --disable-validation
        --no-epoch-checkpoints --save-dir {tmp_path}/save --num-workers 0"""
    words += " --regression-target" * (task == "STS-B")
    glue_toy.forked("fairseq_cli.train", words.split(), tmp_path / "log", 1)
    expected = load_state(tmp_path / "save" / "checkpoint_last.pt")["model"]
    found = scorer.tuned(arch)
    assert found.state_dict().keys() == expected.keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, expected[name]), name
    told = predictions(found, scorer.task, "valid")
    measure = {"SST-2": "accuracy", "STS-B": "pearson"}[task]
    assert scorer.evaluate(arch) == {"proxy_score": glue_scores(task, told.labels, told.predictions)[measure]}
    assert scorer.signature()["proxy_measure"] == measure


def test_what_can_be_learned_is_and_the_seed_decides(folder, supernet):
    scorer, space = _scorer(folder, supernet, updates=60), supernet.space
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    scores = [scorer.evaluate(arch) for arch in (space.largest(), space.smallest(), space.largest())]
    assert scores[0] == scores[2] and min(score["proxy_score"] for score in scores) >= 90
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    scorers = [_scorer(folder, supernet, seed=seed) for seed in (3, 3, 4)]
    state = torch.get_rng_state()
    same, again, other = (one.tuned(space.smallest()).classification_heads[HEAD].out_proj.weight for one in scorers)
    assert torch.equal(same, again) and not torch.equal(same, other)
    assert torch.equal(torch.get_rng_state(), state) and not supernet.training


def test_a_training_that_diverges_has_no_number(folder, supernet):
    score = _scorer(folder, supernet, "STS-B", lr=1.0, updates=2)
    for parameter in (tuned := score.tuned(supernet.space.smallest())).parameters():
        parameter.data.fill_(float("nan"))
    score.tuned = lambda arch: tuned
    assert str(score.evaluate(supernet.space.smallest())["proxy_score"]) == "nan"


def test_a_search_keeps_scores_in_its_log(folder, tmp_path, capsys):
    words = f"search {folder}/bin --path {folder}/supernet.pt --cpu --algorithm random --objectives proxy_score,params"
    words += f" --proxy-data {folder}/work/data/SST-2 --proxy-updates 4 --proxy-lr 0.01 --proxy-batch-size 8"
    words += f" --output {tmp_path}/found"
    assert main([*words.split(), "--budget", "3"]) == 0
    first, *rows = [json.loads(line) for line in (tmp_path / "found/evaluations.jsonl").read_text().splitlines()]
    assert len(rows) == 3 and all(0 <= row["proxy_score"] <= 100 and row["loss"] > 0 for row in rows)
    best = json.loads((tmp_path / "found" / "best.json").read_text())
    assert best["proxy_score"] == max(row["proxy_score"] for row in rows)
    told = first["signature"]
    assert (told["proxy_task"], told["proxy_updates"], told["proxy_seed"]) == ("SST-2", 4, 1)
    capsys.readouterr()
    assert main([*words.split(), "--budget", "4"]) == 0
    assert "4 architectures evaluated, 3 of them by an earlier run" in capsys.readouterr().out
    again = [json.loads(line) for line in (tmp_path / "found/evaluations.jsonl").read_text().splitlines()]
    assert again[1:4] == rows
    assert main([*words.split(), "--budget", "4", "--proxy-seed", "2"]) == 2
    assert "proxy_seed" in capsys.readouterr().err


def test_columns_are_those_of_the_published_files():
    for name, task in TASKS.items():
        assert {len(layout.sentences) for layout in task.layouts} == {SENTENCES[name]}


def _without(*names):
    def damage(data):
        for name in names:
            shutil.rmtree(data / name) if (data / name).is_dir() else (data / name).unlink()

    return damage


def _dictionary(data):
    text = (data / "input0" / "dict.txt").read_text()
    (data / "input0" / "dict.txt").write_text(text.replace("word3 ", "other3 "))


def _labels(data):
    (data / "label" / "dict.txt").write_text("0 1\n")


def _scores(data):
    (data / "label" / "valid.label").write_text("high\n" * 7)


def _fewer(data):
    (data / "label" / "valid.label").write_text("1.0\n" * 6)


@pytest.mark.parametrize(
    ("task", "damage", "options", "message"),
    [
        ("SST-2", lambda data: shutil.rmtree(data), {}, "is no folder: expected a task that examples/glue/run.sh"),
        ("SST-2", _without("input0"), {}, r"has 0 columns of sentences \(no input0\), SST-2 has 1"),
        ("STS-B", _without("input1"), {}, r"has 1 columns of sentences \(input0\), STS-B has 2"),
        ("SST-2", _without("about.json"), {"task": "RTE"}, r"has 1 columns of sentences \(input0\), RTE has 2"),
        ("SST-2", _without("about.json"), {}, "has no about.json that tells its task: give its name"),
        ("SST-2", None, {"task": "RTE"}, "holds SST-2, not RTE"),
        ("SST-2", None, {"task": "WNLI"}, "task 'WNLI' is unknown, allowed: CoLA"),
        ("SST-2", _without("label/valid.idx"), {}, "has no label/valid.idx"),
        ("STS-B", _without("label/train.label"), {}, "has no label/train.label"),
        ("SST-2", _dictionary, {}, r"has another dictionary \(50 entries with the mask\) than the model \(50\)"),
        ("SST-2", _labels, {}, "the label of example 2 of train is not in label/dict.txt"),
        ("STS-B", _scores, {}, "split valid cannot be read"),
        ("STS-B", _fewer, {}, r"split valid cannot be read \(dataset lengths must match\)"),
    ],
)
def test_bad_data_is_one_line(folder, supernet, tmp_path, task, damage, options, message):
    data = tmp_path / "data"
    shutil.copytree(folder / "work" / "data" / task, data)
    if damage:
        damage(data)
    with pytest.raises(UserError, match=message) as error:
        ProxyScorer(supernet, ProxyOptions(data=str(data), **options))
    assert str(error.value).startswith(f"--proxy-data {data}") and "\n" not in str(error.value)


def test_examples_that_are_too_long(folder, supernet, monkeypatch):
    monkeypatch.setattr(supernet.encoder.sentence_encoder, "max_positions", lambda: 6)
    with pytest.raises(UserError, match="has [78] tokens, the model takes 6: prepare it with --length 6 or less"):
        _scorer(folder, supernet)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--objectives proxy_score", "--objectives proxy_score and --proxy-data DIR need each other"),
        ("--proxy-data DATA", "--objectives proxy_score and --proxy-data DIR need each other"),
        ("--objectives proxy_score --proxy-updates 3", "need --proxy-data DIR"),
        ("--objectives proxy_score --proxy-data missing", "--proxy-data missing is no folder"),
        ("--constraint proxy_score>=80", "proxy_score"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(folder, tmp_path, capsys, words, message):
    words = words.replace("DATA", str(folder / "work/data/SST-2"))
    command = f"search {folder}/bin --path {folder}/supernet.pt --cpu --output {tmp_path}/x {words}"
    assert main(command.split()) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0] and not (tmp_path / "x").exists()


def test_other_families_have_none(capsys, tmp_path):
    from tests.small import small_supernet

    small_supernet(tmp_path)
    command = f"search {tmp_path} --path {tmp_path}/supernet.pt --cpu --output {tmp_path}/x --objectives proxy_score"
    assert main([*command.split(), "--proxy-data", str(tmp_path)]) == 2
    assert "proxy_score is for masked_lm" in capsys.readouterr().err
