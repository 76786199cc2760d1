"""Parameters and FLOPs of the subnets of one supernet."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_mos.arch import Architecture
from fairseq_mos.cost.closed_form import flops, parameters


@dataclass(frozen=True)
class Counts:
    """What extraction of an architecture would write, counted in closed form.

    Attributes:
        source_vocabulary: entries of the source dictionary.
        target_vocabulary: entries of the target dictionary.
        share: how embeddings are shared, see :func:`fairseq_mos.cost.closed_form.parameters`.
        normalize_before: pre-norm of encoder and decoder.
        normalize_embedding: a layer norm on each side's embeddings.
    """

    source_vocabulary: int
    target_vocabulary: int
    share: str = "all"
    normalize_before: tuple[bool, bool] = (False, False)
    normalize_embedding: bool = False

    @classmethod
    def of_supernet(cls, model) -> Counts:
        """Reads the sizes from a `mos_transformer`."""
        cfg = model.cfg
        shared_output = "decoder" if cfg.share_decoder_input_output_embed else "none"
        return cls(
            source_vocabulary=len(model.encoder.dictionary),
            target_vocabulary=len(model.decoder.dictionary),
            share="all" if cfg.share_all_embeddings else shared_output,
            normalize_before=(bool(cfg.encoder_normalize_before), bool(cfg.decoder_normalize_before)),
            normalize_embedding=bool(cfg.layernorm_embedding),
        )

    def __call__(self, arch: Architecture) -> dict[str, float]:
        """Returns `params`, `params_no_embed` and `flops` at 30/30 tokens."""
        count = parameters(arch, self.source_vocabulary, self.target_vocabulary, self.share, self.normalize_before)
        norms = 2 * (arch.encoder.embed_dim + arch.decoder.embed_dim) if self.normalize_embedding else 0
        return {"params": count.total + norms, "params_no_embed": count.no_embed + norms, "flops": flops(arch)}
