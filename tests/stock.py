"""fairseq's own Transformer with the weights of a subnet whose sizes it can have."""

from __future__ import annotations

import torch
from fairseq.models.transformer import TransformerConfig, TransformerModelBase

from tests import toy


def stock_twin(subnet, prenorm: bool = False, share: bool = True, **rates: float) -> TransformerModelBase:
    """Returns the stock model that equals `subnet`, in eval mode; `rates` are its dropouts (default: none)."""
    sizes = subnet.architecture.encoder
    cfg = TransformerConfig()
    for side in (cfg.encoder, cfg.decoder):
        side.embed_dim, side.layers, side.ffn_embed_dim = sizes.embed_dim, sizes.layers, sizes.ffn_dims[0]
        side.attention_heads, side.normalize_before = sizes.self_attention_heads[0], prenorm
    cfg.decoder.input_dim = cfg.decoder.output_dim = sizes.embed_dim
    cfg.share_all_embeddings = share
    cfg.max_source_positions = cfg.max_target_positions = 64
    for name in ("dropout", "attention_dropout", "activation_dropout"):
        setattr(cfg, name, rates.get(name, 0.0))
    stock = TransformerModelBase.build_model(cfg, toy.task()).eval()
    missing, unexpected = torch.nn.Module.load_state_dict(stock, subnet.state_dict(), strict=False)
    assert not unexpected
    assert all(n.endswith("version") or "_float_tensor" in n or "output_projection" in n for n in missing)
    if share:
        stock.decoder.output_projection.weight = stock.decoder.embed_tokens.weight
    return stock
