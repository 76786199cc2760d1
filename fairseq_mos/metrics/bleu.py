"""BLEU, as everything in this project counts it."""

from __future__ import annotations

import re

from fairseq_mos.errors import UserError

# Codes of three letters, as in FLORES (zho_Hans) and ISO 639, of the languages that are treated in a way of their own.
_TWO_LETTERS = {
    "zho": "zh", "chi": "zh", "cmn": "zh", "jpn": "ja", "kor": "ko", "deu": "de", "ger": "de",
}  # fmt: skip


def base_language(code: str) -> str:
    """Returns the language of a code that may name a country or a script: `zh` of `zh-CN`, `zh_CN` and `zho_Hans`."""
    base = re.split("[-_]", code.lower())[0]
    return _TWO_LETTERS.get(base, base)


def bleu_metric(target_lang: str, instead: str = ""):
    """Returns sacreBLEU's BLEU with the tokeniser that its own command takes for the target language.

    Args:
        target_lang: language code.
        instead: what else can be done where that tokeniser is missing; ends the message.

    Raises:
        UserError: the tokeniser is not installed (MeCab, for Japanese and Korean).
    """
    from sacrebleu.metrics import BLEU

    language = base_language(target_lang)
    try:
        return BLEU(trg_lang=language)
    except RuntimeError as error:
        raise UserError(
            f"BLEU of target language {target_lang} needs another tokeniser: "
            f'pip install "sacrebleu[{language}]"{instead and ", or " + instead}'
        ) from error
