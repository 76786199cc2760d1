"""Translation from Python: what `torch.hub` loads, and what evaluation and export checks translate with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from fairseq.data import LanguagePairDataset
from fairseq.modules import FairseqDropout
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.utils import apply_to_sample
from omegaconf import OmegaConf

from fairseq_mos import segmentation
from fairseq_mos.errors import UserError
from fairseq_mos.generation import CheckedHub, check_options, texts
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.opening import load_bundle
from fairseq_mos.modules.decoder import Decoder
from fairseq_mos.paths import place
from fairseq_mos.ranges import TOKENS


class TranslationHub(CheckedHub):
    """fairseq's hub interface for one dense translation model: raw text in, raw text out.

    `translate()` and `sample()` take a sentence or a list of them, and fairseq's generation options such as
    `beam=5`, `lenpen=0.6`; `.cuda()` and `.half()` move and convert it. With `retain_dropout=True` (and
    `retain_dropout_modules=[NAME, ...]`) they draw from the model's dropout, as in training.
    """

    def generate(self, *args, retain_dropout: bool = False, retain_dropout_modules=None, **kwargs):
        """Like fairseq's, which knows `retain_dropout` only when the model is loaded.

        Raises:
            UserError: dropout is to be retained in a model without any, such as an exported program.
        """
        check_options({"retain_dropout": retain_dropout, "retain_dropout_modules": retain_dropout_modules})
        found = [m for m in self.models.modules() if isinstance(m, FairseqDropout)] if retain_dropout else []
        if retain_dropout_modules is not None:
            found = [module for module in found if module.module_name in retain_dropout_modules]
        if retain_dropout and not found:
            raise UserError("retain_dropout=True: this model has no dropout of that name to retain")
        before = [module.apply_during_inference for module in found]
        decoders = [model.decoder for model in self.models if isinstance(model.decoder, Decoder)]
        asked = [decoder.attention_in_decoding for decoder in decoders]
        alignment = kwargs.get("print_alignment", self.cfg.generation.print_alignment)
        try:
            for module in found:
                module.apply_during_inference = True
            for decoder in decoders:
                # Whatever was said when the model was loaded; a value that is wrong is refused below.
                decoder.attention_in_decoding = alignment is not None
            return super().generate(*args, **kwargs)
        finally:
            for decoder, value in zip(decoders, asked):
                decoder.attention_in_decoding = value
            for module, value in zip(found, before):
                module.apply_during_inference = value

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
        if isinstance(sources, str) != isinstance(targets, str):
            raise UserError("score() takes one source and one target, or a list of each")
        if isinstance(sources, str):
            return self.score([sources], [targets])[0]
        sources, targets = texts(sources, "source"), texts(targets, "target")
        if not sources and not targets:
            return []
        if len(sources) != len(targets):
            raise UserError(f"{len(sources)} sources, but {len(targets)} targets to score")
        pairs = [(self.encode(source), self._encode_target(target)) for source, target in zip(sources, targets)]
        tokens, references = [source for source, _ in pairs], [target for _, target in pairs]
        self._check_lengths(tokens, self.max_positions[0], "source")
        self._check_lengths(references, self.max_positions[1], "target")
        dataset = LanguagePairDataset(
            tokens, [len(t) for t in tokens], self.src_dict, references, [len(t) for t in references], self.tgt_dict,
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
        return [found[index] for index in range(len(tokens))]

    def _build_batches(self, tokens, skip_invalid_size_inputs: bool):
        positions = float("inf") if skip_invalid_size_inputs else self.max_positions[0]
        self._check_lengths(tokens, positions, "source")
        return super()._build_batches(tokens, skip_invalid_size_inputs)

    def _check_lengths(self, sentences: Sequence[torch.Tensor], positions: float, side: str) -> None:
        limits = ((positions, "the model's positions"), (self.cfg.dataset.max_tokens, "max_tokens"))
        for number, tokens in enumerate(sentences, 1):
            for limit, name in limits:
                if len(tokens) > limit:
                    raise UserError(f"{side} {number} has {len(tokens)} tokens, allowed: {limit} ({name})")

    def _encode_target(self, sentence: str) -> torch.Tensor:
        text = self.apply_bpe(self.tokenize(sentence))
        return self.tgt_dict.encode_line(text, add_if_not_exist=False, append_eos=True).long()


def load(
    checkpoint: str | Path,
    architecture: str | None = None,
    data: str | None = None,
    bpe: str | None = None,
    tokenizer: str | None = None,
    max_tokens: int = 4096,
    trust: bool = False,
) -> TranslationHub:
    """Loads a model to translate with.

    Args:
        checkpoint: a dense checkpoint, a supernet, or an exported folder.
        architecture: of a supernet: YAML file, `largest`, `smallest` or `random:SEED`.
        data: folder with dictionaries and subword model (default: beside the checkpoint, then where it was trained).
        bpe: `none` for text that is segmented already; by default what lies beside the checkpoint.
        tokenizer: fairseq's name of the tokenizer before the subwords, such as `moses`.
        max_tokens: tokens of a batch.
        trust: see :func:`fairseq_mos.models.opening.open_model`.

    Raises:
        UserError: unusable input, or no subword model.
    """
    checkpoint, data = place("checkpoint", checkpoint), place("data", data)
    architecture = place("architecture", architecture)
    return of_bundle(load_bundle(checkpoint, architecture, data, trust), bpe, tokenizer, max_tokens)


def of_bundle(
    bundle: Bundle, bpe: str | None = None, tokenizer: str | None = None, max_tokens: int = 4096
) -> TranslationHub:
    """Like :func:`load`, for a model that is loaded already."""
    bundle.require("translation", "translates nothing (torch.hub: see hubconf.py)")
    TOKENS.check("max_tokens", max_tokens)
    config = copy.deepcopy(bundle.config)
    source, target = bundle.data.languages
    languages = {"source_lang": source, "target_lang": target}
    config["bpe"], config["tokenizer"] = segmentation.configurations(bundle, bpe, tokenizer, **languages)
    config["dataset"]["max_tokens"], config["dataset"]["batch_size"] = max_tokens, None
    # Would be opened, whatever it names.
    config["generation"]["replace_unk"] = None
    # Every sentence of a batch, whatever their number (fairseq drops what does not fill a multiple).
    config["dataset"]["required_batch_size_multiple"] = 1
    options = {name: value for name, value in config["task"].items() if name in TranslationConfig.__dataclass_fields__}
    options.update(source_lang=source, target_lang=target, data=str(bundle.data.dictionaries[0].parent))
    task_config = OmegaConf.merge(OmegaConf.structured(TranslationConfig), options)
    task = TranslationTask(task_config, bundle.model.encoder.dictionary, bundle.model.decoder.dictionary)
    cfg = OmegaConf.create({**config, "model": None})
    return TranslationHub(cfg, task, [bundle.model]).eval()
