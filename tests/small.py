"""An untrained supernet as a file, with dictionaries, sentencepiece model and raw text: no training needed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
import torch
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf

import fairseq_mos
from fairseq_mos.arch import SearchSpace
from fairseq_mos.export.checkpoint import write_checkpoint
from fairseq_mos.models.config import MosTransformerConfig
from tests import toy

TEXT = """
ein Hund läuft über die Straße zwei Kinder spielen im Garten mit einem roten Ball und lachen laut während der alte
Mann langsam nach Hause geht
"""
WORDS = TEXT.split()


@dataclass(frozen=True)
class Small:
    """A folder with `supernet.pt`, its dictionaries, `sentencepiece.bpe.model`, `test.en` and `test.de`."""

    folder: Path
    space: SearchSpace

    @property
    def path(self) -> str:
        return str(self.folder / "supernet.pt")

    @property
    def sources(self) -> list[str]:
        return (self.folder / "test.en").read_text("utf-8").splitlines()


def sentences(number: int, seed: int) -> list[str]:
    """Made-up sentences."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(2, 9))) for _ in range(number)]


def small_supernet(folder: Path, space: SearchSpace | None = None, more_words: int = 0, **options) -> Small:
    """Writes everything into `folder`; `more_words` stand in the target's dictionary before the others."""
    fairseq_mos.register()
    space = space or toy.space()
    for name, seed in (("en", 1), ("de", 2)):
        (folder / f"test.{name}").write_text("".join(f"{line}\n" for line in sentences(12, seed)), "utf-8")
    prefix = folder / "sentencepiece.bpe"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(200, 3)), model_prefix=str(prefix), vocab_size=54, minloglevel=2
    )
    model = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    dictionaries = {"en": Dictionary(), "de": Dictionary()}
    for number in range(more_words):
        dictionaries["de"].add_symbol(f"more{number}")
    for language, dictionary in dictionaries.items():
        for index in range(3, model.get_piece_size()):
            dictionary.add_symbol(model.id_to_piece(index))
        dictionary.save(str(folder / f"dict.{language}.txt"))
    options = {"share_all_embeddings": not more_words, **options}
    supernet = toy.supernet("neuron", space, toy.task(*dictionaries.values()), **options)
    with torch.no_grad():
        # So that some translations end: an untrained model's would not.
        output = supernet.decoder.output_projection
        table = supernet.decoder.embed_tokens.weight if output is None else output.weight
        table[dictionary.eos()] *= 4
    # As fairseq's trainer saves it.
    config = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), resolve=True, enum_to_str=True)
    fields = OmegaConf.to_container(OmegaConf.structured(MosTransformerConfig()), enum_to_str=True)
    given = {"router_hidden_dim": 16, "dropout": 0.0, **options}
    config["model"] = {
        **fields,
        **given,
        "_name": "mos_transformer",
        "routing": "neuron",
        "search_space_definition": space.to_json(),
    }
    config["task"] = {
        "_name": "supernet_translation",
        "data": str(folder),
        "source_lang": "en",
        "target_lang": "de",
    }
    write_checkpoint(folder / "supernet.pt", supernet, config)
    return Small(folder, space)
