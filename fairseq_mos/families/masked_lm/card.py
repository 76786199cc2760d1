"""A model card to start from."""

from __future__ import annotations

from typing import Any

from fairseq_mos.cost.measured import count_parameters
from fairseq_mos.families.masked_lm.costs import published

_TEMPLATE = """\
---
library_name: {library}
pipeline_tag: fill-mask
tags: [fill-mask, {library}, mixture-of-supernets]
# license: fill in
---

# {name}: a masked language model

A dense encoder with {params:,} parameters ({no_embed:,} without embeddings and head; {budget:,} as published BERT
searches count), one architecture (`{digest}`) of a weight-sharing supernet, extracted with fairseq-mos.

## Architecture

| | |
|---|---|
| width | {sizes.embed_dim} |
| layers | {sizes.layers} |
| heads | {sizes.attention_heads} |
| feed-forward width | {sizes.ffn_dim} |
| widths between bottlenecks | {hidden} |
{usage}
## To be filled in

- **Training data**: which texts, filtering, number of tokens, subword model.
- **Training**: fairseq-mos commit, routing, updates, tokens an update, masking, hardware, hours; retrained or not.
- **Evaluation**: loss on masked tokens, GLUE with seeds and deviation (`examples/glue`).
- **Intended use, limits and biases**: domains, languages and inputs that it was not made for.
- **Licence** of the weights, and of the data that they were trained on.
"""


def model_card(bundle: Any, library: str = "fairseq", usage: str = "") -> str:
    """Returns a model card in Markdown, filled in as far as the model itself tells.

    Args:
        bundle: the subnet.
        library: that reads the model.
        usage: a section on its use.
    """
    architecture = bundle.model.architecture
    counted, sizes = count_parameters(bundle.model), architecture.encoder
    return _TEMPLATE.format(
        name=bundle.name,
        library=library,
        usage=usage,
        params=counted.total,
        no_embed=counted.no_embed,
        budget=published(architecture),
        digest=architecture.digest(),
        sizes=sizes,
        hidden=", ".join(map(str, sizes.hidden_dims)) or "none",
    )
