"""The tokenizer of a masked language model as `tokenizer.json` of Hugging Face `tokenizers`.

Its numbers are those of the dictionary. sentencepiece's unigram models, BERT's WordPiece, and text that is segmented at
white space already, can be written down; what would tokenize otherwise than fairseq does is refused with the reason.
"""

from __future__ import annotations

import base64
from pathlib import Path

from fairseq.data import Dictionary

from fairseq_mos import wordpiece
from fairseq_mos.errors import UserError, one_line
from fairseq_mos.families.masked_lm.texts import MASK, MaskedLMTexts

_SPACE = "\u2581"
"""sentencepiece's sign for a space."""

_MADE_UP = "madeupword"
"""How fairseq names the entries that round a dictionary's size up."""


class NotFaithful(Exception):
    """No file of `tokenizers` would say what fairseq says; the message is the reason."""


def tokenizer_files(data: MaskedLMTexts, dictionary: Dictionary, positions: int) -> dict[str, dict]:
    """Returns the files by name.

    Args:
        data: how text is read.
        dictionary: of the tokens, with the mask.
        positions: longest input, in tokens.

    Raises:
        NotFaithful: it cannot be written down.
    """
    if data.tokenizer:
        raise NotFaithful(f"fairseq's tokenizer {data.tokenizer} comes first")
    if data.subwords is None:
        parts = _words(dictionary)
    elif data.subword_kind == "sentencepiece":
        parts = _pieces(data.subwords, dictionary)
    elif data.subword_kind == "bert":
        parts = _word_pieces(data.subwords, dictionary)
    else:
        raise NotFaithful(f"its subwords are of {data.subword_kind}")
    bos, eos = dictionary.bos_word, dictionary.eos_word
    special = {"bos": bos, "eos": eos, "cls": bos, "sep": eos, "unk": dictionary.unk_word, "pad": dictionary.pad_word}
    named = {f"{name}_token": token for name, token in {**special, "mask": MASK}.items()}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(dictionary, token) for token in dict.fromkeys(named.values())],
        **parts,
        "post_processor": _frame(bos, eos, dictionary),
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions, **named}
    # Spaces before the mask are its own, as in fairseq's interface.
    config["added_tokens_decoder"] = {
        str(token["id"]): {name: value for name, value in token.items() if name != "id"}
        for token in tokenizer["added_tokens"]
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config, "special_tokens_map.json": named}


def _added(dictionary: Dictionary, token: str) -> dict:
    flags = {"single_word": False, "lstrip": token == MASK, "rstrip": False, "normalized": False, "special": True}
    return {"id": dictionary.index(token), "content": token, **flags}


def _frame(bos: str, eos: str, dictionary: Dictionary) -> dict:
    def sign(token: str, segment: int = 0) -> dict:
        return {"SpecialToken": {"id": token, "type_id": segment}}

    def text(name: str) -> dict:
        return {"Sequence": {"id": name, "type_id": 0}}

    tokens = {token: {"id": token, "ids": [dictionary.index(token)], "tokens": [token]} for token in (bos, eos)}
    return {
        "type": "TemplateProcessing",
        "single": [sign(bos), text("A"), sign(eos)],
        "pair": [sign(bos), text("A"), sign(eos), sign(eos), text("B"), sign(eos)],
        "special_tokens": tokens,
    }


def _words(dictionary: Dictionary) -> dict:
    vocabulary = {symbol: index for index, symbol in enumerate(dictionary.symbols)}
    return {
        # What Python takes for white space and Unicode does not.
        "normalizer": {"type": "Replace", "pattern": {"Regex": r"[\x1c-\x1f]"}, "content": " "},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": dictionary.unk_word},
    }


def _word_pieces(file: Path, dictionary: Dictionary) -> dict:
    entries = wordpiece.read_entries(file)
    unknown = [entry for entry in wordpiece.words(entries) if entry not in dictionary]
    if unknown:
        raise NotFaithful(f"the dictionary has no {unknown[0]!r}, which {file.name} has")
    lower = not wordpiece.is_cased(entries)
    return {
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": lower,
            "lowercase": lower,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "vocab": {symbol: index for index, symbol in enumerate(dictionary.symbols)},
            "unk_token": dictionary.unk_word, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        },
    }  # fmt: skip


def _pieces(file: Path, dictionary: Dictionary) -> dict:
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        reason = 'reading a sentencepiece model takes protobuf: pip install "fairseq-mos[huggingface]"'
        raise NotFaithful(reason) from error
    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(file.read_bytes())
    except Exception as error:  # protobuf's own
        raise UserError(f"{file} cannot be read as a model of sentencepiece: {one_line(error, 160)}") from error
    trainer, normalizer, kinds = model.trainer_spec, model.normalizer_spec, model.SentencePiece
    if trainer.model_type != trainer.UNIGRAM:
        raise NotFaithful("its sentencepiece model is no unigram model")
    options = normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces, normalizer.escape_whitespaces
    if not all(options) or trainer.treat_whitespace_as_suffix:
        raise NotFaithful("its sentencepiece model treats white space in its own way")
    if any(piece.type not in (kinds.NORMAL, kinds.UNKNOWN, kinds.CONTROL) for piece in model.pieces):
        raise NotFaithful("its sentencepiece model has bytes, or pieces of the user's")
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == kinds.NORMAL}
    words = dictionary.symbols[dictionary.nspecial :]
    own = {word for word in words if word != MASK and not word.startswith(_MADE_UP)}
    if own != set(scores):
        some = sorted(own ^ set(scores))[0]
        raise NotFaithful(f"dictionary and sentencepiece model have different pieces, such as {some!r}")
    least = min(scores.values())
    vocabulary = [[symbol, 0.0] for symbol in dictionary.symbols[: dictionary.nspecial]]
    # A space inside: no text has such a piece. The lowest score is what an unknown character's is reckoned from.
    vocabulary += [[word, scores[word]] if word in scores else [f"{word} ", least] for word in words if word != MASK]
    vocabulary.insert(dictionary.index(MASK), [MASK, 0.0])
    table = base64.b64encode(normalizer.precompiled_charsmap).decode("ascii")
    space = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": True}
    steps = [{"type": "Precompiled", "precompiled_charsmap": table}] if table else []
    steps += [
        {"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": space,
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": dictionary.unk(), "vocab": vocabulary, "byte_fallback": False},
    }
