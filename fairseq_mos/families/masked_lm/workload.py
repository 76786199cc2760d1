"""What is run to tell what a masked language model costs: a pass over a sentence, and an update."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F

from fairseq_mos.errors import UserError

_MASKED = 0.15
"""Share of the tokens that are predicted in training."""


def update(model: nn.Module, optimizer, settings, device: str) -> Callable[..., object]:
    """Returns an update of training on masked tokens; its argument is called at the end."""
    tokens = torch.full((settings.sentences, settings.source_tokens), 5, device=device)
    masked = max(1, round(_MASKED * settings.source_tokens))

    def step(between: Callable[[], None] = lambda: None) -> None:
        optimizer.zero_grad()
        # Picked by place: which tokens are masked cannot be asked of tensors without storage.
        features = model(tokens, features_only=True)[0][:, :masked]
        scores = model.encoder.output_layer(features).flatten(0, 1)
        F.cross_entropy(scores.float(), tokens[:, :masked].flatten(), reduction="sum").backward()
        optimizer.step()
        between()

    return step


def run(model: nn.Module, tokens: int, output_layer: bool) -> None:
    """Runs a pass over one sentence.

    Raises:
        UserError: the model takes no sentence of that length; without storage any length can be counted.
    """
    device, limit = next(model.parameters()).device, model.max_positions()
    if device.type != "meta" and tokens > limit:
        raise UserError(f"--source-tokens is {tokens}, allowed: 1 to {limit}, the model's positions")
    sentence = torch.full((1, tokens), 5, device=device)
    model(sentence, features_only=not output_layer)


def embeddings(model: nn.Module) -> Iterable[nn.Parameter]:
    """Yields the parameters of tables and of the head, ours and of fairseq's `roberta`."""
    found = {}
    for part in (model.encoder.sentence_encoder.embed_tokens, model.encoder.sentence_encoder.embed_positions):
        found.update({id(parameter): parameter for parameter in part.parameters()})
    # The table may be a parameter of the head, too.
    found.update({id(parameter): parameter for parameter in model.encoder.lm_head.parameters()})
    yield from found.values()
