"""Tokenised BLEU with compound splitting: only for comparison with older tables of translation into German.

HAT's tables (and those of the Transformer paper) tokenise with Moses, split hyphenated compounds and count
without smoothing. It depends on the tokeniser and is not comparable with sacreBLEU's BLEU, about 0.5 lower.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fairseq_mos.errors import UserError
from fairseq_mos.metrics.bleu import base_language
from fairseq_mos.metrics.scores import Score

NAME = "bleu_tok_compound"
_COMPOUND = re.compile(r"(\S)-(?=\S)")


def split_compounds(tokens: str) -> str:
    """Splits words at hyphens, as the published scripts do: `A-B` becomes `A ##AT##-##AT## B`."""
    return _COMPOUND.sub(r"\1 ##AT##-##AT## ", tokens)


def compound_bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]], target_lang: str) -> Score:
    """Scores detokenised translations into German.

    Raises:
        UserError: another language, or sacremoses that is missing.
    """
    if base_language(target_lang) != "de":
        raise UserError(f"--compound-bleu splits German compounds: the target language is {target_lang}, allowed: de")
    try:
        import sacremoses
    except ImportError as error:
        raise UserError('--compound-bleu needs sacremoses: pip install "fairseq-mos[data]"') from error
    from sacrebleu.metrics import BLEU

    tokenizer = sacremoses.MosesTokenizer(lang="de")

    def prepare(lines: Sequence[str]) -> list[str]:
        return [split_compounds(tokenizer.tokenize(line, return_str=True, escape=False)) for line in lines]

    # force: sacreBLEU warns of tokenised text, which is what is meant here.
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    result = metric.corpus_score(prepare(hypotheses), [prepare(stream) for stream in references])
    signature = f"{metric.get_signature()}|tokenised:sacremoses-{sacremoses.__version__}|compounds:split"
    return Score(NAME, result.score, None, None, signature)
