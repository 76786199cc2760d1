"""A subnet as a folder for Hugging Face `transformers`, which is not needed to write it: a `RobertaForMaskedLM`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fairseq_mos.export.checkpoint import copy_beside
from fairseq_mos.families.masked_lm import probe, stock
from fairseq_mos.families.masked_lm.card import model_card
from fairseq_mos.families.masked_lm.limits import refuse, shape_limits
from fairseq_mos.families.masked_lm.texts import FILE, load_dictionary
from fairseq_mos.families.masked_lm.tokenizer import NotFaithful, tokenizer_files
from fairseq_mos.families.texts import BESIDE
from fairseq_mos.files import replaced_folder
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.huggingface import CONFIG, WEIGHTS, config_of, names, read_folder, token_types
from fairseq_mos.models.masked_lm import POSITIONS
from fairseq_mos.models.weights import library
from fairseq_mos.paths import listing

CARD = "README.md"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_USAGE = """
## Use

```python
from transformers import AutoModelForMaskedLM

model = AutoModelForMaskedLM.from_pretrained("FOLDER")
```

{tokens}
"""


def write(
    bundle: Bundle,
    folder: str | Path,
    check: Callable[[Path], None] | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Writes `config.json`, `model.safetensors`, the tokenizer, dictionary, subword model and a model card.

    Args:
        bundle: the subnet.
        folder: to write; replaced if it is such a folder already, but for the model card.
        check: called with the new folder before it is put in its place; an error leaves all as it was.
        say: told what the folder does not hold.

    Returns:
        What was written.

    Raises:
        UserError: RoBERTa of `transformers` cannot express the model, a folder that cannot be written to, or
            safetensors that is missing.
    """
    architecture, model, options = bundle.subnet("huggingface"), bundle.model, bundle.config["model"]
    limits = shape_limits(architecture)
    if options["encoder_normalize_before"]:
        limits.append("layer norms before each sublayer (encoder_normalize_before)")
    if str(options["activation_fn"]) != "gelu":
        limits.append(f"activation_fn {options['activation_fn']}, since its head has gelu")
    refuse("huggingface", limits, "RobertaForMaskedLM of transformers")
    save, state = library().save, model.state_dict()
    table = names("roberta", architecture.encoder.layers)
    tensors = {theirs: state[ours].detach().float().contiguous() for ours, theirs in table.items()}
    tensors[token_types("roberta")] = torch.zeros(1, architecture.encoder.embed_dim)
    rows = len(state[POSITIONS])
    texts: dict[str, dict] = {CONFIG: config_of(vars(model.args), len(model.dictionary), rows, options)}
    try:
        texts.update(tokenizer_files(bundle.data, model.dictionary, model.max_positions()))
        tokens = "`AutoTokenizer.from_pretrained` reads the tokenizer, which gives the tokens that fairseq gives."
        if bundle.data.subwords is None:
            tokens += f" It splits at white space: text has to be segmented into the entries of `{FILE}` already."
    except NotFaithful as reason:
        tokens = f"There is no tokenizer, since {reason}: tokens are those of `{FILE}`, with `<mask>` last."
        say(f"no tokenizer was written, since {reason}: tokens are those of {FILE}")
    if len(model.classification_heads):
        say(f"classification heads are left out: {', '.join(model.classification_heads)}")
    folder = Path(folder)
    with replaced_folder(folder, (WEIGHTS, CONFIG, *_TOKENIZER, *BESIDE), kept=[CARD]) as new:
        copy_beside(bundle.data.files(), new)
        (new / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        for name, values in texts.items():
            (new / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (new / CARD).write_text(model_card(bundle, "transformers", _USAGE.format(tokens=tokens)), "utf-8")
        if check is not None:
            check(new)
    return listing(folder)


def run(folder: Path, sentences: Sequence[Tensor]) -> list[Tensor]:
    """Scores tokens with what was written, in fairseq's own network."""
    read = read_folder(folder)
    values = {field.ours: field.value for field in read.fields}
    dictionary = load_dictionary(folder / FILE, read.weights)
    positions = len(read.weights[POSITIONS]) - dictionary.pad() - 1
    sizes = {name: value for name, value in values.items() if name not in ("layer_norm_eps", "activation_fn")}
    model = stock.of_weights(
        read.weights, {**sizes, "max_positions": positions}, dictionary, values["layer_norm_eps"]
    )
    return probe.scores(model, sentences)
