"""The same numbers as sacreBLEU's own command."""

from __future__ import annotations

import csv
import json
import re
import sys

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.compound import compound_bleu, split_compounds
from fairseq_mos.metrics.scores import METRICS, score_systems
from fairseq_mos.metrics.tables import Row, as_csv, as_text
from tests.fairseq_commands import run
from tests.small import sentences

REFERENCES = sentences(60, 11)
GOOD = [line if i % 3 else " ".join(line.split()[::-1]) for i, line in enumerate(REFERENCES)]
BAD = [line if i % 3 == 1 else " ".join(line.split()[1:] + ["und"]) for i, line in enumerate(REFERENCES)]
SYSTEMS = {"good": GOOD, "bad": BAD}


def _sacrebleu(folder, *arguments, form="json"):
    (folder / "ref").write_text("".join(f"{line}\n" for line in REFERENCES))
    for name, lines in SYSTEMS.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    command = [sys.executable, "-m", "sacrebleu", "ref", "-m", *METRICS, "-f", form, *arguments]
    done = run(command, folder)
    return json.loads(done.stdout) if form == "json" else done.stdout


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_scores_intervals_and_signatures(tmp_path, system):
    expected = _sacrebleu(tmp_path, "-i", system, "--confidence", "-w", "6")
    found = score_systems({system: SYSTEMS[system]}, [REFERENCES], METRICS, "de")[system]
    assert [entry["name"].lower().rstrip("2") for entry in expected] == list(METRICS) == list(found)
    for entry, name in zip(expected, METRICS):
        score = found[name]
        assert score.score == pytest.approx(entry["score"], abs=1e-6)
        assert (score.low + score.high) / 2 == pytest.approx(entry["confidence_mean"], abs=1e-5)
        assert (score.high - score.low) / 2 == pytest.approx(entry["confidence_var"], abs=1e-5)
        assert score.signature == entry["signature"].split("|", 1)[-1] or score.signature == entry["signature"]
        assert score.p_value is None


@pytest.mark.parametrize("paired", ["bs", "ar"])
def test_paired_tests(tmp_path, paired):
    # Its JSON writer fails on the numbers of a paired test.
    flags = [f"--paired-{paired}", f"--paired-{paired}-n", "200"]
    printed = _sacrebleu(tmp_path, "-i", "good", "bad", *flags, form="text")
    expected = [float(value) for value in re.findall(r"\(p = ([0-9.]+)\)", printed)]
    found = score_systems(SYSTEMS, [REFERENCES], METRICS, "de", 0, paired, 200)
    assert [found["bad"][name].p_value for name in METRICS] == pytest.approx(expected, abs=5e-5)
    assert len(set(expected)) > 1
    assert all(score.p_value is None and score.low is None for score in found["good"].values())
    # The signatures that it prints name test, samples and seed.
    assert f"{paired}:200|seed:12345" in found["bad"]["ter"].test
    assert all(score.test in printed for score in found["bad"].values())
    assert found["good"]["bleu"].test is None


def test_the_same_translations_are_not_tested():
    found = score_systems({"one": GOOD, "two": list(GOOD)}, [REFERENCES], ["bleu"], "de", 0, "bs", 50)
    assert found["two"]["bleu"].p_value is None


def test_the_tables_record_the_paired_test_and_claim_no_more():
    for bootstrap, paired in ((0, "ar"), (20, None)):
        found = score_systems(SYSTEMS, [REFERENCES], ["bleu", "ter"], "de", bootstrap, paired, 20)
        rows = [Row(name, "x", scores) for name, scores in found.items()]
        text = as_text(rows)
        assert ("95 % confidence interval" in text) == (bootstrap > 0)
        assert ("p: of the difference" in text) == ("ar:20|seed:12345" in text) == (paired is not None)
        assert "FLOPs: 2 x" not in text and "TER: low is good" in text
        record = next(csv.DictReader(as_csv(rows[::-1]).splitlines()))
        assert ("ar:20" in record.get("ter_test", "")) == (paired is not None)


@pytest.mark.parametrize(
    ("hypotheses", "references"),
    [
        (["q", "b"], ["a", "b"]),  # some resamples have no match
        (["q", "b"], ["", "b"]),  # or no word
        (["", ""], ["a", "b"]),
        (["", ""], ["", ""]),
        (["\0", "\u2028"], ["a", "\u3000"]),
    ],
)
def test_a_few_sentences_without_a_match(hypotheses, references):
    systems = {"x": hypotheses, "y": ["b", "b"]}
    for name, found in score_systems(systems, [references], METRICS, "de", 50, "bs", 50).items():
        for score in found.values():
            assert 0 <= score.low <= score.high
        for metric, make in (("bleu", BLEU), ("chrf", CHRF), ("ter", TER)):
            assert found[metric].score == make().corpus_score(systems[name], [references]).score


def test_several_references_and_chinese():
    found = score_systems({"x": GOOD}, [REFERENCES, GOOD], ["bleu"], "de", 0)["x"]["bleu"]
    assert found.score == pytest.approx(100) and "nrefs:2" in found.signature
    assert "tok:zh" in score_systems({"x": GOOD}, [REFERENCES], ["bleu"], "zh", 0)["x"]["bleu"].signature


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["bleu", "meteor"]}, "--metrics: 'meteor' is unknown, allowed: bleu, chrf, ter"),
        ({"names": ["bleu", "bleu", "ter"]}, "--metrics: bleu is given twice"),
        ({"target_lang": "ko"}, r'target language ko needs another tokeniser: pip install "sacrebleu\[ko\]"'),
        ({"bootstrap": 1}, "--bootstrap is 1, allowed: 0"),
        ({"paired": "t"}, "--paired is 't', allowed: bs, ar or none"),
        (
            {"hypotheses": {"good": GOOD, "short": GOOD[:-1]}},
            "short has 59 translations, test set given has 60 references",
        ),
        ({"references": [REFERENCES, REFERENCES[1:]]}, "references of 60 and of 59 sentences"),
    ],
)
def test_bad_input(arguments, message):
    given = {"hypotheses": SYSTEMS, "references": [REFERENCES], "names": ["bleu"], "target_lang": "de", **arguments}
    with pytest.raises(UserError, match=message):
        score_systems(**given)


def test_compounds_are_split_as_in_the_published_tables():
    assert (
        split_compounds("Ost-West-Konflikt - a-b")
        == "Ost ##AT##-##AT## West ##AT##-##AT## Konflikt - a ##AT##-##AT## b"
    )
    # By hand: 5 of 6, 3 of 5, 2 of 4 and 1 of 3 n-grams of "der Ost ##AT##-##AT## West Konflikt" are right.
    found = compound_bleu(["der Ost-West Konflikt"], [["der Ost-West Streit"]], "de")
    tokens = ["der", "Ost", "##AT##-##AT##", "West", "Konflikt"]
    assert len(tokens) == 5
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert found.score == pytest.approx(expected) and "compounds:split" in found.signature
    with pytest.raises(UserError, match="the target language is fr, allowed: de"):
        compound_bleu(["a"], [["a"]], "fr")
