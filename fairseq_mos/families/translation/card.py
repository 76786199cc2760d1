"""A model card to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairseq_mos.models.bundle import Bundle

_TEMPLATE = """\
---
language: [{source}, {target}]
library_name: fairseq
pipeline_tag: translation
tags: [translation, fairseq, mixture-of-supernets]
# license: fill in
---

# {name}: {source} to {target}

A dense Transformer with {params:,} parameters ({no_embed:,} without embeddings and output layer), one architecture
(`{digest}`) of a weight-sharing supernet, extracted with fairseq-mos.

## Use

```python
import torch

model = torch.hub.load("PATH_OR_REPOSITORY_OF_FAIRSEQ_MOS", "mos_subnet", checkpoint="THIS_FOLDER", source="local")
model.translate("...")
```

## Architecture

| | encoder | decoder |
|---|---|---|
| width | {encoder.embed_dim} | {decoder.embed_dim} |
| layers | {encoder.layers} | {decoder.layers} |
| feed-forward widths | {encoder_ffn} | {decoder_ffn} |
| self-attention heads | {encoder_heads} | {decoder_heads} |
| cross-attention heads | | {cross_heads} |

FLOPs (30 source and 30 target tokens, without output layer): {flops:,}

## To be filled in

- **Training data**: which corpora, filtering, number of sentence pairs, subword model.
- **Training**: fairseq-mos commit, routing, updates, tokens an update, hardware, hours; retrained or inherited weights.
- **Evaluation**: test sets, BLEU, chrF, TER with sacreBLEU's signatures (`fairseq-mos evaluate` writes this table).
- **Latency**: milliseconds with device, threads, precision (`fairseq-mos profile --latency`).
- **Intended use, limits and biases**: domains, languages and inputs that it was not made for.
- **Licence** of the weights, and of the data that they were trained on.
"""


def model_card(bundle: Bundle) -> str:
    """Returns a model card in Markdown, filled in as far as the model itself tells."""
    from fairseq_mos.cost.measured import count_parameters
    from fairseq_mos.families import family_of

    architecture = bundle.model.architecture
    counted = count_parameters(bundle.model)

    def joined(values) -> str:
        return ", ".join(map(str, values))

    encoder, decoder = architecture.encoder, architecture.decoder
    return _TEMPLATE.format(
        name=bundle.name,
        source=bundle.data.languages[0],
        target=bundle.data.languages[1],
        params=counted.total,
        no_embed=counted.no_embed,
        digest=architecture.digest(),
        encoder=encoder,
        decoder=decoder,
        encoder_ffn=joined(encoder.ffn_dims),
        decoder_ffn=joined(decoder.ffn_dims),
        encoder_heads=joined(encoder.self_attention_heads),
        decoder_heads=joined(decoder.self_attention_heads),
        cross_heads=joined(decoder.cross_attention_heads),
        flops=family_of(architecture).flops(architecture),
    )
