"""Translation scores with inherited weights against fairseq-generate on the extracted subnet."""

from __future__ import annotations

import re

import pytest
from sacrebleu.metrics import BLEU, CHRF

from fairseq_mos.errors import UserError
from fairseq_mos.export.checkpoint import extract_checkpoint
from fairseq_mos.families.translation.evaluator import TranslationEvaluator
from fairseq_mos.search.scoring import ScorerOptions
from tests.fairseq_commands import ROOT, run_steps


def test_scores_are_those_of_the_extracted_subnet(trained, tmp_path):
    evaluator = TranslationEvaluator(str(trained.path), str(trained.data), cpu=True)
    scorer = evaluator.scorer(ScorerOptions(beam=3))
    found = scorer.evaluate(evaluator.space.smallest())
    extract_checkpoint(str(trained.path), "smallest", str(tmp_path / "subnet.pt"), str(trained.data))
    command = f"fairseq-generate {trained.data} --user-dir {ROOT / 'fairseq_mos'} --task translation --cpu --beam 3 "
    command += f"--path {tmp_path / 'subnet.pt'} --gen-subset valid --max-len-a 1.2 --max-len-b 10 --max-tokens 4096"
    printed = run_steps([command.split()], tmp_path).stdout
    hypotheses = dict(re.findall(r"^H-(\d+)\t\S+\t(.*)$", printed, flags=re.M))
    references = dict(re.findall(r"^T-(\d+)\t(.*)$", printed, flags=re.M))
    order = sorted(hypotheses)
    assert len(order) == 11
    texts = [hypotheses[i] for i in order], [[references[i] for i in order]]
    # Unknown words are written differently on both sides, so that they never match.
    if not any("<" in text for text in (*texts[0], *texts[1][0])):
        assert found["bleu"] == pytest.approx(BLEU().corpus_score(*texts).score)
        assert found["chrf"] == pytest.approx(CHRF().corpus_score(*texts).score)
    assert found["chrf"] > 0


def test_the_signature_names_sacrebleus(trained):
    evaluator = TranslationEvaluator(str(trained.path), str(trained.data), cpu=True)
    signature = evaluator.scorer(ScorerOptions(beam=2)).signature()
    assert signature["beam"] == "2" and signature["bleu_signature"].startswith("nrefs:1|case:mixed")
    with pytest.raises(UserError, match="--beam is 0"):
        ScorerOptions(beam=0)


def test_the_kind_of_subwords_is_in_the_signature(trained):
    evaluator = TranslationEvaluator(str(trained.path), str(trained.data), cpu=True)
    assert evaluator.scorer(ScorerOptions(2)).signature()["post_process"] == "none"
    assert evaluator.scorer(ScorerOptions(2, "sentencepiece")).signature()["post_process"] == "sentencepiece"
