"""--mask-whole-words: words are masked whole, in stock training too, and what it needs is said in one line."""

from __future__ import annotations

import sys

import pytest
import sentencepiece
import torch
from fairseq.data import Dictionary
from fairseq.tasks import masked_lm
from omegaconf import OmegaConf

import fairseq_mos
from fairseq_mos.errors import UserError
from fairseq_mos.families.masked_lm.texts import FILE
from tests.fairseq_commands import ROOT, run, run_steps
from tests.families.masked_lm import commands
from tests.families.masked_lm.files import write_dictionary
from tests.small import sentences
from tests.supernet_commands import difference

SCRIPT = """
import sys, torch
if len(sys.argv) > 1:
    sys.path.insert(0, {root!r})
    import fairseq_mos
    fairseq_mos.register()
from fairseq import tasks
from fairseq.tasks.masked_lm import MaskedLMConfig
from omegaconf import OmegaConf
options = {{"_name": "masked_lm", "data": "bin", "tokens_per_sample": 64, "mask_prob": 0.3, "mask_whole_words": True,
           "leave_unmasked_prob": 0.0, "random_token_prob": 0.0, "seed": 1}}
task = {{**OmegaConf.to_container(OmegaConf.structured(MaskedLMConfig)), **options}}
bpe = {{"_name": "sentencepiece", "sentencepiece_model": "sentencepiece.bpe.model"}}
cfg = OmegaConf.create({{"bpe": bpe, "task": task}})
task = tasks.setup_task(cfg.task)
task.load_dataset("train")
items = [task.dataset("train")[i] for i in range(len(task.dataset("train")))]
torch.save([(item["net_input.src_tokens"], item["target"]) for item in items], "items.pt")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masking")
    write_dictionary(folder, pieces=True)
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    for split, count, seed in (("train", 40, 5), ("valid", 8, 6)):
        lines = [" ".join(model.encode(line, out_type=str)) for line in sentences(count, seed)]
        (folder / split).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    step = ["fairseq-preprocess", "--only-source", "--trainpref", "train", "--validpref", "valid", "--destdir", "bin"]
    run_steps([[*step, "--srcdict", FILE]], folder)
    return folder


def test_words_are_masked_whole(folder):
    script = SCRIPT.format(root=str(ROOT))
    without = run([sys.executable, "-c", script], folder, check=False)
    if without.returncode == 0:
        pytest.skip("this fairseq does not have the defect")
    assert "has no attribute 'args'" in without.stderr
    run([sys.executable, "-c", script, "repaired"], folder)
    entries = [line.rsplit(" ", 1)[0] for line in (folder / FILE).read_text("utf-8").splitlines()]
    begins = {4 + row for row, entry in enumerate(entries) if entry.startswith("\u2581")} | set(range(4))
    masked, long, share = 4 + len(entries), 0, []
    for tokens, target in torch.load(folder / "items.pt"):
        hidden = tokens.eq(masked).tolist()
        assert hidden == target.ne(1).tolist()
        original = torch.where(target.ne(1), target, tokens).tolist()
        share.append(sum(hidden) / len(hidden))
        for place, token in enumerate(original[1:], 1):
            if token not in begins:
                # Within a word: as its beginning.
                assert hidden[place] == hidden[place - 1]
                long += hidden[place]
    assert long > 10 and 0.2 < sum(share) / len(share) < 0.4


TRAIN = [
    "fairseq-train", "bin", "--user-dir", str(ROOT / "fairseq_mos"), "--task", "masked_lm", "--arch", "roberta",
    "--criterion", "masked_lm", "--encoder-layers", "1", "--encoder-embed-dim", "8", "--encoder-ffn-embed-dim", "8",
    "--encoder-attention-heads", "2", "--optimizer", "adam", "--lr", "0.01", "--batch-size", "8", "--cpu",
    "--sample-break-mode", "eos", "--tokens-per-sample", "64", "--max-update", "1", "--log-format", "none",
    "--mask-whole-words", "--save-dir", "out", "--num-workers", "0",
]  # fmt: skip


def test_training_with_fairseq_s_own_flags(folder):
    refused = run_steps([TRAIN], folder, check=False)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "needs subwords that tell where words begin: give --bpe, allowed: " in refused.stderr.splitlines()[-1]
    run_steps([[*TRAIN, "--bpe", "sentencepiece", "--sentencepiece-model", "sentencepiece.bpe.model"]], folder)
    assert (folder / "out" / "checkpoint_last.pt").is_file()


@pytest.mark.parametrize(
    ("bpe", "message"),
    [
        ({"_name": "subword_nmt", "bpe_codes": "x"}, "--bpe is subword_nmt, allowed: "),
        ({"_name": "sentencepiece", "sentencepiece_model": "nowhere"}, "--bpe sentencepiece cannot be read: "),
    ],
)
def test_subwords_that_do_not_do(bpe, message):
    fairseq_mos.register()
    with pytest.raises(UserError, match=message) as error:
        masked_lm.get_whole_word_mask(OmegaConf.create(bpe), Dictionary())
    assert "\n" not in str(error.value)


def test_each_epoch_has_masks_of_its_own(tmp_path):
    """Whoever reads the data, and whether the training was stopped between two epochs."""
    commands.workspace(tmp_path)
    steps = [[*commands.TRAIN, "--num-workers", workers, "--save-dir", workers] for workers in "01"]
    steps += [[*commands.TRAIN, "--num-workers", "1", "--max-epoch", epochs, "--save-dir", "parts"] for epochs in "12"]
    run_steps(steps, tmp_path)
    one, *others = (tmp_path / name / "checkpoint_last.pt" for name in ("0", "1", "parts"))
    assert [difference(one, other) for other in others] == [0, 0]
