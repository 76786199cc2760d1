"""Every BLEU of the project is that of the sacrebleu command for the target language."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import OmegaConf
from sacrebleu.metrics import BLEU

import fairseq_mos
from fairseq_mos.errors import UserError
from fairseq_mos.families.translation.scorer import TranslationScorer, subwords_of
from fairseq_mos.metrics.bleu import base_language, bleu_metric
from fairseq_mos.metrics.scores import score_systems
from fairseq_mos.search.scoring import ScorerOptions

HYPOTHESES = ["我们 今天 去 学校 。", "他 不 喜欢 下雨 的 天气 ,", "两 只 狗 在 雪 里 跑"]
REFERENCES = ["我们 今天 去 公园 。", "她 不 喜欢 下雨 的 天气 .", "两 只 狗 在 雪地 里 跑"]
LETTERS, CHARACTERS = " ".join("abcdefghijklmnopqrstuvwxyz"), " ".join(map(chr, range(0x4E00, 0x4E40)))
WORDS = [*dict.fromkeys(" ".join(HYPOTHESES + REFERENCES).split())]


def _task(target_lang: str, **options) -> TranslationTask:
    """A task that counts BLEU in validation; its model 'translates' into HYPOTHESES."""
    fairseq_mos.register()
    dictionary = Dictionary()
    for word in WORDS:
        dictionary.add_symbol(word)
    config = {"data": ".", "source_lang": "en", "target_lang": target_lang, "eval_bleu": True, **options}
    task = TranslationTask(OmegaConf.merge(OmegaConf.structured(TranslationConfig), config), dictionary, dictionary)
    task.tokenizer = None
    return task


def _ids(task, lines):
    return [task.tgt_dict.encode_line(line, add_if_not_exist=False).long() for line in lines]


def _in_training(target_lang: str) -> float:
    task = _task(target_lang)
    task.inference_step = lambda *_, **__: [[{"tokens": tokens}] for tokens in _ids(task, HYPOTHESES)]
    return task._inference_with_bleu(None, {"target": _ids(task, REFERENCES)}, None).score


def _in_search(target_lang: str) -> float:
    task = _task(target_lang)
    task.build_generator = lambda *_: None
    batch = {"target": torch.nn.utils.rnn.pad_sequence(_ids(task, REFERENCES), True, task.tgt_dict.pad())}
    scorer = TranslationScorer(None, task, [batch], ScorerOptions())
    scorer.translate = lambda _: _ids(task, HYPOTHESES)
    found = scorer.evaluate(None)["bleu"]
    metric = bleu_metric(target_lang)
    metric.corpus_score(["a"], [["a"]])
    assert scorer.signature()["bleu_signature"] == str(metric.get_signature())
    return found


def _in_evaluate(target_lang: str) -> float:
    return score_systems({"x": HYPOTHESES}, [REFERENCES], ["bleu"], target_lang, 0)["x"]["bleu"].score


# The examples call `fairseq-mos evaluate`.
WHERE = [_in_training, _in_search, _in_evaluate]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(
    ("target_lang", "tokeniser"),
    [("de", "13a"), ("zh", "zh"), ("zh-CN", "zh"), ("zh_TW", "zh"), ("zho_Hans", "zh"), ("zha", "13a")],
)
def test_the_tokeniser_is_that_of_the_language(where, target_lang, tokeniser):
    expected = {name: BLEU(tokenize=name).corpus_score(HYPOTHESES, [REFERENCES]).score for name in ("13a", "zh")}
    assert expected["13a"] != pytest.approx(expected["zh"], abs=1)
    assert where(target_lang) == pytest.approx(expected[tokeniser], abs=1e-9)


@pytest.mark.parametrize("where", [*WHERE, lambda lang: _task(lang).build_model(None)])
@pytest.mark.parametrize("target_lang", ["ja_XX", "ko"])
def test_a_missing_tokeniser_is_named(where, target_lang):
    try:
        BLEU(trg_lang=target_lang[:2])
    except RuntimeError:
        with pytest.raises(UserError, match=rf'language {target_lang} needs .* pip install "sacrebleu\[..\]"'):
            where(target_lang)
    else:
        pytest.skip("MeCab is installed")


def test_a_checkpoint_that_was_trained_with_bleu_translates_without_its_tokeniser(monkeypatch):
    built = []
    monkeypatch.setattr("fairseq.models.build_model", lambda *_: built.append(1) or SimpleNamespace())
    monkeypatch.setattr(TranslationTask, "build_generator", lambda *_: None)
    _task("ko").build_model(SimpleNamespace(_name="x"), from_checkpoint=True)
    _task("ko", eval_tokenized_bleu=True).build_model(SimpleNamespace(_name="x"))
    assert len(built) == 2


def test_tokenised_bleu_stays_as_it_is():
    task = _task("zh", eval_tokenized_bleu=True)
    task.inference_step = lambda *_, **__: [[{"tokens": tokens}] for tokens in _ids(task, HYPOTHESES)]
    found = task._inference_with_bleu(None, {"target": _ids(task, REFERENCES)}, None).score
    assert found == pytest.approx(BLEU(tokenize="none").corpus_score(HYPOTHESES, [REFERENCES]).score)


def test_languages_of_codes():
    codes = ["zh", "zh-CN", "zh_Hant", "cmn_Hans", "jpn_Jpan", "ko_KR", "de-AT", "deu_Latn", "en", "yue"]
    assert [base_language(code) for code in codes] == ["zh"] * 4 + ["ja", "ko", "de", "de", "en", "yue"]


@pytest.mark.parametrize(
    ("symbols", "lines", "kind"),
    [
        ("\u2581the \u2581do g s", ["\u2581the \u2581do g s"], "sentencepiece"),
        # A character model has one marked entry among all characters.
        (f"\u2581 {LETTERS}", ["\u2581 t h e \u2581 d o g"], "sentencepiece"),
        (f"\u2581 {CHARACTERS}", ["\u2581 \u4e00 \u4e01", "\u2581 \u4e02"], "sentencepiece"),
        (f"\u2581\u4e00 \u4e01\u4e02 {CHARACTERS}", ["\u2581\u4e00 \u4e01\u4e02"], "sentencepiece"),
        ("the do@@ g s@@", ["the do@@ g"], "subword_nmt"),
        # Few words go on when the vocabulary is large.
        ("do@@ g " + " ".join(f"w{i}" for i in range(100)), ["w1 w2", "w3 w4", "do@@ g"], "subword_nmt"),
        ("the dog", ["the dog"], "none"),
        ("\u2581 @@ " + " ".join(f"w{i}" for i in range(9)), ["w1 \u2581 w2", "w3 @@", "w4 w5"], "none"),
        ("the dog", [], "none"),
    ],
)  # fmt: skip
def test_subwords_are_known_by_their_marks(symbols, lines, kind):
    dictionary = Dictionary()
    for symbol in symbols.split():
        dictionary.add_symbol(symbol)
    sentences = [dictionary.encode_line(line, add_if_not_exist=False) for line in lines]
    assert subwords_of(dictionary.symbols, sentences) == kind
