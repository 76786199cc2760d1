"""An untrained supernet of masked language models as a file, with dictionary and sentencepiece model."""

from __future__ import annotations

from pathlib import Path

import sentencepiece
from fairseq.data import Dictionary
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf

from fairseq_mos.arch import SearchSpace
from fairseq_mos.export.checkpoint import write_checkpoint
from fairseq_mos.families.masked_lm.family import FAMILY
from fairseq_mos.families.masked_lm.texts import FILE, MASK, load_dictionary
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.content import plain_config, with_defaults
from fairseq_mos.models.opening import load_bundle
from tests.families.masked_lm import kit
from tests.small import sentences


def write_dictionary(folder: Path, pieces: bool) -> Dictionary:
    """Writes `dict.txt` and, with `pieces`, `sentencepiece.bpe.model`; returns the dictionary with the mask."""
    dictionary = Dictionary()
    if pieces:
        prefix = folder / "sentencepiece.bpe"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences(200, 3)), model_prefix=str(prefix), vocab_size=54, minloglevel=2
        )
        model = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
        # Not in its order: fairseq's dictionaries are sorted by how often a piece occurs.
        for index in reversed(range(3, model.get_piece_size())):
            dictionary.add_symbol(model.id_to_piece(index))
    else:
        for index in range(kit.VOCABULARY - 5):
            dictionary.add_symbol(f"word{index}")
    dictionary.save(str(folder / FILE))
    dictionary.add_symbol(MASK)
    return dictionary


def write_supernet(folder: Path, space: SearchSpace | None = None, pieces: bool = False, **options) -> Path:
    """Writes `supernet.pt` and what belongs beside it; returns its path."""
    write_dictionary(folder, pieces)
    model = kit.supernet(space, dictionary=load_dictionary(folder / FILE), **options)
    # As fairseq's trainer saves it.
    config = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()), resolve=True, enum_to_str=True)
    config.update({name: with_defaults(None, kind) for name, (_, kind) in FAMILY.parts().items()})
    config["criterion"]["_name"] = "masked_lm"
    config["task"].update(_name="supernet_masked_lm", data=str(folder), tokens_per_sample=kit.POSITIONS)
    values = plain_config(OmegaConf.structured(model.cfg))
    config["model"] = {**values, "_name": "mos_roberta", "search_space_definition": model.space.to_json()}
    write_checkpoint(folder / "supernet.pt", model, config)
    return folder / "supernet.pt"


def subnet(folder: Path, architecture: str = "largest", **options) -> Bundle:
    """Returns a subnet of such a supernet."""
    return load_bundle(write_supernet(folder, **options), architecture)
