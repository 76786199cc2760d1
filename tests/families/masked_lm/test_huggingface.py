"""Hugging Face's RoBERTa with a subnet's weights scores as the subnet does; its tokenizer numbers as fairseq does."""

from __future__ import annotations

import json
import random

import pytest
import torch
from fairseq.data import encoders
from omegaconf import OmegaConf
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer

from fairseq_mos.arch import SearchSpace
from fairseq_mos.cli import main
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm import hub, huggingface, probe
from fairseq_mos.families.masked_lm.texts import MaskedLMTexts, load_dictionary
from fairseq_mos.families.masked_lm.tokenizer import tokenizer_files
from fairseq_mos.models.opening import load_bundle
from tests.families.masked_lm import kit
from tests.families.masked_lm.files import subnet, write_dictionary, write_supernet
from tests.small import WORDS, sentences

TEXTS = [
    "ein Hund läuft", "  zwei   Kinder ", "ﬁne Ｆｕｌｌ ½ naïve", "漢字 und Hund 漢 字x", "HundHund<mask> spielen",
    "der <mask> Mann", "a\u200bb\tc\u00a0d\x1ce", "Ball. 12,5", "\u2581 Hund\u2581im",
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"layer_norm_eps": 1e-12}, {"pieces": True}])
@pytest.mark.parametrize("architecture", ["largest", "smallest"])
@torch.no_grad()
def test_the_same_scores(tmp_path, architecture, options):
    bundle = subnet(tmp_path, architecture, **options)
    wrote = huggingface.write(bundle, tmp_path / "out", say=lambda line: pytest.fail(line))
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "dict.txt"} <= {f.name for f in wrote}
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    assert type(model).__name__ == "RobertaForMaskedLM"
    tokens = kit.tokens()
    real = tokens.ne(1)
    found = model(tokens, attention_mask=real.long()).logits[real]
    torch.testing.assert_close(found, bundle.model(tokens)[0][real], rtol=0, atol=1e-5)
    # The check's own route, which needs no transformers.
    inputs = probe.read_sentences(bundle, None, 5)
    assert probe.compare(probe.run(bundle, inputs), huggingface.run(tmp_path / "out", inputs)).difference < 1e-5


def _fairseq(bundle, text: str) -> list[int]:
    """What fairseq makes of a text, piece by piece around the mask."""
    dictionary, encode = bundle.model.dictionary, str
    if bundle.data.subwords:
        config = {"_name": "sentencepiece", "sentencepiece_model": str(bundle.data.subwords)}
        encode = encoders.build_bpe(OmegaConf.create(config)).encode
    line = " <mask> ".join(encode(part) for part in text.split("<mask>"))
    return [0, *dictionary.encode_line(line, add_if_not_exist=False).tolist()]


@pytest.mark.parametrize("pieces", [False, True])
def test_the_same_tokens(tmp_path, pieces):
    bundle = subnet(tmp_path, pieces=pieces)
    huggingface.write(bundle, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    draw = random.Random(1)
    letters = "".join(WORDS) + "  xyzÄß漢"
    made_up = ["".join(draw.choices(letters, k=draw.randint(1, 30))) for _ in range(200)]
    texts = [*TEXTS, *sentences(50, 9), *made_up] if pieces else ["word1 word2\tword9", *TEXTS, " word3\u3000x word4 "]
    if not pieces:
        texts = [text.replace("<mask>", " <mask> ") for text in texts]
    for text in texts:
        assert tokenizer(text)["input_ids"] == _fairseq(bundle, text), repr(text)
    assert (tokenizer.mask_token_id, tokenizer.pad_token_id) == (len(bundle.model.dictionary) - 1, 1)
    assert tokenizer.model_max_length == kit.POSITIONS
    first = " ".join(WORDS[:4]) if pieces else "word1 word3"
    assert tokenizer.decode(tokenizer(first)["input_ids"], skip_special_tokens=True) == first
    assert tokenizer("word1" if not pieces else "Hund", "word2" if not pieces else "im")["input_ids"].count(2) == 3


@pytest.mark.parametrize("capital", ["word0", "Word0"])
def test_a_model_with_berts_vocabulary(tmp_path, capital):
    """Hub and tokenizer cut text as fairseq's `bert` does."""
    write_supernet(tmp_path)
    words = ["word1", "##word2", "wor", "##d", "##3", ".", capital]
    own = [*words, *(f"word{index}" for index in range(100, 100 + kit.VOCABULARY - 5 - len(words)))]
    (tmp_path / "dict.txt").write_text("".join(f"{word} 1\n" for word in own))
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[CLS]", "[UNK]", "[SEP]", "[MASK]", *own]) + "\n")
    bundle = load_bundle(tmp_path / "supernet.pt", "smallest")
    interface = hub.of_bundle(bundle)
    texts = ["word1. Word1word2", "WORD0 word0", "wórd3 <mask> word3.", "unseen", "word1"]
    huggingface.write(bundle, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in texts:
        assert tokenizer(text)["input_ids"] == interface.encode(text).tolist(), text
    dictionary = bundle.model.dictionary
    known = interface.encode("Word0").tolist()[1:-1]
    assert known == [dictionary.index("Word0" if capital == "Word0" else "word0")] and dictionary.unk() not in known
    assert interface.decode(interface.encode("word1. word1word2")) == "word1. word1word2"


def test_another_dictionary_than_the_subword_model_s_has_no_tokenizer(tmp_path):
    write_supernet(tmp_path, pieces=True)
    lines = (tmp_path / "dict.txt").read_text("utf-8").splitlines()
    # The last entry of the dictionary takes the place of an entry that means nothing.
    piece = lines[-1].rsplit(" ", 1)[0]
    (tmp_path / "dict.txt").write_text("\n".join([*lines[:-1], "madeupword0000 0"]) + "\n", "utf-8")
    said = []
    huggingface.write(load_bundle(tmp_path / "supernet.pt", "largest"), tmp_path / "other", say=said.append)
    assert said == [
        f"no tokenizer was written, since dictionary and sentencepiece model have different pieces, such as {piece!r}: "
        "tokens are those of dict.txt"
    ]
    assert not (tmp_path / "other" / "tokenizer.json").exists()
    assert f"different pieces, such as {piece!r}" in (tmp_path / "other" / "README.md").read_text("utf-8")


def test_a_dictionary_with_made_up_entries_keeps_its_numbers(tmp_path):
    write_dictionary(tmp_path, pieces=True)
    with open(tmp_path / "dict.txt", "a", encoding="utf-8") as stream:
        stream.write("madeupword0000 0\n")
    dictionary = load_dictionary(tmp_path / "dict.txt")
    data = MaskedLMTexts((tmp_path / "dict.txt",), tmp_path / "sentencepiece.bpe.model", None)
    vocabulary = tokenizer_files(data, dictionary, 9)["tokenizer.json"]["model"]["vocab"]
    assert [entry.strip() for entry, _ in vocabulary] == dictionary.symbols
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_files(data, dictionary, 9)["tokenizer.json"]))
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    made_up = dictionary.index("madeupword0000")
    assert made_up not in tokenizer.encode("madeupword0000 Hund").ids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": kit.space(bottlenecks=True)}, "bottlenecks around the layers"),
        ({"encoder_normalize_before": True}, r"layer norms before each sublayer \(encoder_normalize_before\)"),
        ({"activation_fn": "relu"}, "activation_fn relu, since its head has gelu"),
        ({"space": SearchSpace.from_dict({**kit.space().to_dict(), "head_dim": 16})}, "4 heads of 16 in a width of 32"),
    ],
)
def test_what_it_cannot_express_is_named(tmp_path, options, message):
    with pytest.raises(UserError, match=f"--format huggingface is Roberta.*which cannot express {message}"):
        huggingface.write(subnet(tmp_path, **options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, capsys):
    path = write_supernet(tmp_path)
    command = ["export", "--path", str(path), "--architecture", "smallest", "--sentences", "9"]
    command += ["--output", str(tmp_path / "out"), "--format"]
    assert main([*command, "huggingface"]) == 0
    assert "checked: all 9 sentences have the original's scores" in capsys.readouterr().out
    (tmp_path / "out" / "README.md").write_text("mine")
    assert main([*command, "huggingface"]) == 0 and (tmp_path / "out" / "README.md").read_text() == "mine"
    capsys.readouterr()
    # Neither takes the other's folder for its own.
    assert main([*command, "safetensors"]) == 2
    assert "which is not of this format" in capsys.readouterr().err
    with_tokenizer = [*command, "huggingface", "--tokenizer", "moses"]
    assert main(with_tokenizer) == 0
    assert "no tokenizer was written, since fairseq's tokenizer moses comes first" in capsys.readouterr().out
