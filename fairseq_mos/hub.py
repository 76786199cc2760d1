"""Translation from Python: what `torch.hub` loads, and what evaluation and export checks translate with."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from fairseq.data import LanguagePairDataset
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import apply_to_sample
from omegaconf import OmegaConf

from fairseq_mos.errors import UserError
from fairseq_mos.export.bundle import Bundle, load_dictionaries
from fairseq_mos.export.source import load_bundle

KINDS = ("sentencepiece", "subword_nmt", "none")


class TranslationHub(GeneratorHubInterface):
    """fairseq's hub interface for one dense translation model: raw text in, raw text out.

    `translate()` and `sample()` take a sentence or a list of them, and fairseq's generation options such as
    `beam=5`, `lenpen=0.6`; `.cuda()` and `.half()` move and convert it.
    """

    def score(self, sources: str | Sequence[str], targets: str | Sequence[str]):
        """Scores given translations.

        Args:
            sources: raw source sentences, or one.
            targets: a raw translation of each.

        Returns:
            For each pair a dictionary with `score`, the mean log-probability (base e) of a target token, and
            `positional_scores`, that of every token, end of sentence included.

        Raises:
            UserError: not as many sources as targets.
        """
        if isinstance(sources, str):
            return self.score([sources], [targets])[0]
        if len(sources) != len(targets):
            raise UserError(f"{len(sources)} sources, but {len(targets)} targets to score")
        pairs = [(self.encode(source), self._encode_target(target)) for source, target in zip(sources, targets)]
        texts, references = [source for source, _ in pairs], [target for _, target in pairs]
        dataset = LanguagePairDataset(
            texts, [len(t) for t in texts], self.src_dict, references, [len(t) for t in references], self.tgt_dict,
            shuffle=False,
        )  # fmt: skip
        scorer, found = SequenceScorer(self.tgt_dict), {}
        batches = self.task.get_batch_iterator(
            dataset, self.cfg.dataset.max_tokens, self.cfg.dataset.batch_size, self.max_positions,
            disable_iterator_cache=True,
        )  # fmt: skip
        for batch in batches.next_epoch_itr(shuffle=False):
            batch = apply_to_sample(lambda tensor: tensor.to(self.device), batch)
            for index, hypotheses in zip(batch["id"].tolist(), scorer.generate(list(self.models), batch)):
                best = hypotheses[0]
                found[index] = {"score": float(best["score"]), "positional_scores": best["positional_scores"]}
        return [found[index] for index in range(len(texts))]

    def _encode_target(self, sentence: str) -> torch.Tensor:
        text = self.apply_bpe(self.tokenize(sentence))
        return self.tgt_dict.encode_line(text, add_if_not_exist=False, append_eos=True).long()


def load(
    checkpoint: str,
    architecture: str | None = None,
    data: str | None = None,
    bpe: str | None = None,
    tokenizer: str | None = None,
    max_tokens: int = 4096,
) -> TranslationHub:
    """Loads a model to translate with.

    Args:
        checkpoint: a dense checkpoint, a supernet, or an exported folder.
        architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.
        data: folder with dictionaries and subword model (default: beside the checkpoint, then where it was trained).
        bpe: `none` for text that is segmented already; by default what lies beside the checkpoint.
        tokenizer: fairseq's name of the tokenizer before the subwords, such as `moses`.
        max_tokens: tokens of a batch.

    Raises:
        UserError: unusable input, or no subword model.
    """
    return of_bundle(load_bundle(checkpoint, architecture, data), bpe, tokenizer, max_tokens)


def of_bundle(
    bundle: Bundle, bpe: str | None = None, tokenizer: str | None = None, max_tokens: int = 4096
) -> TranslationHub:
    """Like :func:`load`, for a model that is loaded already."""
    if bpe is not None and bpe not in KINDS:
        raise UserError(f"bpe is {bpe!r}, allowed: {', '.join(KINDS)}")
    if max_tokens < 1:
        raise UserError(f"max_tokens is {max_tokens}, allowed: 1 or more")
    kind = bpe or bundle.subword_kind
    if kind is None or (kind != "none" and bundle.subwords is None):
        folder = bundle.dictionaries[0].parent
        raise UserError(
            f"there is no subword model beside {bundle.name}: put sentencepiece.bpe.model (or bpecodes) into {folder}, "
            "or give bpe none for text that is segmented already"
        )
    config = copy.deepcopy(bundle.config)
    config["bpe"] = None
    if kind != "none":
        option = "sentencepiece_model" if kind == "sentencepiece" else "bpe_codes"
        config["bpe"] = {"_name": kind, option: str(bundle.subwords)}
    name = tokenizer or bundle.tokenizer
    source, target = bundle.languages
    config["tokenizer"] = {"_name": name, "source_lang": source, "target_lang": target} if name else None
    config["dataset"]["max_tokens"], config["dataset"]["batch_size"] = max_tokens, None
    # Every sentence of a batch, whatever their number (fairseq drops what does not fill a multiple).
    config["dataset"]["required_batch_size_multiple"] = 1
    options = {name: value for name, value in config["task"].items() if name in TranslationConfig.__dataclass_fields__}
    options.update(source_lang=source, target_lang=target, data=str(bundle.dictionaries[0].parent))
    task_config = OmegaConf.merge(OmegaConf.structured(TranslationConfig), options)
    task = TranslationTask(task_config, *load_dictionaries(bundle.dictionaries))
    cfg = OmegaConf.create({**config, "model": None})
    return TranslationHub(cfg, task, [bundle.model]).eval()
