"""What comes before a model's tokens in fairseq's words: a tokenizer and a subword model, by their names."""

from __future__ import annotations

from collections.abc import Callable

from fairseq.data import encoders
from omegaconf import OmegaConf

from fairseq_mos import wordpiece
from fairseq_mos.documents import show
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.families.texts import SUBWORD_FILES
from fairseq_mos.models.bundle import Bundle

_OPTIONS = {"sentencepiece": "sentencepiece_model", "subword_nmt": "bpe_codes"}
"""fairseq's name of a kind of subwords -> that of the option which names the model's file."""

KINDS = (*_OPTIONS, "bert", "none")


def check_tokenizer(name: str) -> str:
    """Returns the name of a tokenizer.

    Raises:
        UserError: fairseq knows none of that name.
    """
    if not isinstance(name, str) or name not in encoders.TOKENIZER_REGISTRY:
        raise UserError(f"tokenizer is {show(name)}, allowed: {', '.join(sorted(encoders.TOKENIZER_REGISTRY))}")
    return name


def configurations(
    bundle: Bundle, bpe: str | None, tokenizer: str | None, **languages: str
) -> tuple[dict | None, dict | None]:
    """Returns fairseq's configuration of the subwords and of the tokenizer; None where there are none.

    Args:
        bundle: the model.
        bpe: a name of :data:`KINDS`; by default what lies beside the checkpoint.
        tokenizer: fairseq's name; by default what the model comes with.
        languages: options of the tokenizer.

    Raises:
        UserError: no subword model, another one than is asked for, or one that cannot be read.
    """
    if bpe is not None and bpe not in KINDS:
        raise UserError(f"bpe is {show(bpe)}, allowed: {', '.join(KINDS)}")
    data = bundle.data
    if bpe not in (None, "none", data.subword_kind) and data.subwords is not None:
        raise UserError(f"bpe is {bpe!r}, but {data.subwords} is for {data.subword_kind}")
    kind = bpe or data.subword_kind
    if kind is None or (kind != "none" and data.subwords is None):
        folder = data.dictionaries[0].parent
        raise UserError(
            f"there is no subword model beside {bundle.name}: put {' or '.join(SUBWORD_FILES)} into {folder}, "
            "or say that the text is segmented already (--bpe none of evaluate, bpe='none' in Python)"
        )
    subwords = None
    if kind != "none":
        if kind == "bert":
            subwords = wordpiece.configuration(data.subwords)
        else:
            subwords = {"_name": kind, _OPTIONS[kind]: str(data.subwords)}
        _try(encoders.build_bpe, subwords, f"{data.subwords} cannot be read as a model of {kind}")
    name = tokenizer or data.tokenizer
    words = None
    if name:
        words = {"_name": check_tokenizer(name), **languages}
        _try(encoders.build_tokenizer, words, f"tokenizer {name} does not start")
    return subwords, words


def _try(build: Callable, config: dict, complaint: str) -> None:
    """Builds something of fairseq's, so that what is missing or damaged shows in one line."""
    try:
        build(OmegaConf.create(config))
    except ImportError as error:
        raise UserError(str(error)) from error  # it says what to install
    except (Exception, SystemExit) as error:  # of any library
        raise UserError(f"{complaint}: {one_line(error, 160)}") from error
