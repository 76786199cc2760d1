"""The decoder: a stack of layers over target embeddings, elastic or dense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from fairseq_mos.arch import Sizes
from fairseq_mos.modules.attention import State
from fairseq_mos.modules.kept import unchanged
from fairseq_mos.modules.layers import DecoderLayer
from fairseq_mos.modules.leaves import DenseLeaves
from fairseq_mos.modules.memory import rows_of, runs, same, sentences_of, whole_of
from fairseq_mos.modules.stack import Stack, StackOptions


class Decoder(Stack, FairseqIncrementalDecoder):
    """Predicts target tokens.

    Args:
        dictionary: target dictionary.
        embed_tokens: embedding table, at least as wide as the decoder; the first columns are used.
        sizes: of the decoder (of the largest architecture, with elastic leaves).
        memory_dim: width of the memory that the layers attend to.
        memory_states: how many states of the memory each layer attends to.
        leaves: makes the leaves.
        options: see :class:`StackOptions`.
        share_output: the output projection is the embedding table.
    """

    def __init__(
        self,
        dictionary,
        embed_tokens: nn.Module,
        sizes: Sizes,
        memory_dim: int,
        memory_states: Sequence[int],
        leaves: DenseLeaves,
        options: StackOptions,
        share_output: bool = True,
    ):
        FairseqIncrementalDecoder.__init__(self, dictionary)
        leaves = leaves.stack("decoder")
        layers = (
            DecoderLayer(
                leaves.layer(), sizes.embed_dim, memory_dim, sizes.qkv_dim, ffn_dim, heads, cross_heads, states, options
            )
            for ffn_dim, heads, cross_heads, states in zip(
                sizes.ffn_dims, sizes.self_attention_heads, sizes.cross_attention_heads, memory_states
            )
        )
        self.build(embed_tokens, sizes.embed_dim, layers, leaves, options)
        self.output_projection = None
        if not share_output:
            self.output_projection = leaves.linear(sizes.embed_dim, len(dictionary), bias=False)
            nn.init.normal_(self.output_projection.weight, std=sizes.embed_dim**-0.5)
            leaves.route(output_projection=self.output_projection)
        self.max_target_positions = options.max_positions
        # Set by models whose task trains with alignments; otherwise the fused attention is faster.
        self.attention_in_training = False
        self.attention_in_decoding = True
        self._others: list[nn.Module] = []

    def activate(self, sizes: Sizes, memory_dim: int, memory_states: Sequence[int]) -> None:
        """Sets the active sizes."""
        self.resize(sizes.embed_dim, sizes.layers)
        if self.output_projection is not None:
            self.output_projection.activate(sizes.embed_dim, len(self.dictionary))
        for layer, ffn_dim, heads, cross_heads, states in zip(
            self.layers, sizes.ffn_dims, sizes.self_attention_heads, sizes.cross_attention_heads, memory_states
        ):
            layer.activate(sizes.embed_dim, sizes.qkv_dim, ffn_dim, heads, memory_dim, cross_heads, states)

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]] | None = None,
        incremental_state: State | None = None,
        features_only: bool = False,
        full_context_alignment: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
        src_lengths: Any = None,
        return_all_hiddens: bool = False,
    ) -> tuple[Tensor, dict]:
        """Predicts the next token at every position, or at the newest one in incremental decoding.

        Args:
            prev_output_tokens: (batch, target length), shifted targets.
            encoder_out: output of the encoder.
            incremental_state: fairseq's decoding cache.
            features_only: return features instead of scores over the vocabulary.
            full_context_alignment: no causal mask.
            alignment_layer: layer whose attention is returned; by default the last one, in training only if
                `attention_in_training`.
            alignment_heads: average over this many heads only.
            src_lengths: not needed; part of fairseq's interface.
            return_all_hiddens: not needed; part of fairseq's interface.

        Returns:
            Scores (batch, target length, vocabulary) and a dictionary with `attn` and `inner_states`.
        """
        with unchanged(self.get_incremental_state(incremental_state, "memory") is not None):
            x, extra = self.extract_features(
                prev_output_tokens,
                encoder_out,
                incremental_state,
                full_context_alignment,
                alignment_layer,
                alignment_heads,
            )
            return (x if features_only else self.output_layer(x)), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]] | None = None,
        incremental_state: State | None = None,
        full_context_alignment: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
    ) -> tuple[Tensor, dict]:
        """Like :meth:`forward` without the output layer."""
        x, _ = self.embed(prev_output_tokens, incremental_state is not None)
        x_TBC = x.transpose(0, 1)
        memory, memory_mask = self._memory(encoder_out, incremental_state, x)
        if incremental_state is None:
            self_mask, causal = self._self_mask(prev_output_tokens, full_context_alignment)
        else:
            self_mask, causal = self._hypotheses(incremental_state, x), False

        wanted = self.attention_in_training or not self.training
        if alignment_layer is None and wanted and (incremental_state is None or self.attention_in_decoding):
            alignment_layer = self.active_layers - 1
        attn = None
        states = [x_TBC]
        for i, layer in enumerate(self.active):
            need_attn = i == alignment_layer
            x_TBC, layer_attn = self.run(
                layer, x_TBC, memory, memory_mask, self_mask, causal, incremental_state, need_attn
            )
            states.append(x_TBC)
            if layer_attn is not None:
                attn = layer_attn[:, :alignment_heads].mean(dim=1)
        if self.layer_norm is not None:
            x_TBC = self.layer_norm(x_TBC)
        extra = {"attn": [attn], "inner_states": states, "incremental": incremental_state is not None}
        return x_TBC.transpose(0, 1), extra

    def _memory(self, encoder_out: dict[str, list[Tensor]] | None, state: State | None, x_BTC: Tensor):
        """Returns what the layers attend to and its mask; in incremental decoding a row for each sentence.

        Only the first step reads the encoder's output: the layers keep its keys and values, and the decoder its mask
        and the sentence of each row.
        """
        if encoder_out is None or not whole_of(encoder_out)["encoder_out"]:
            return None, None
        if state is None:
            memory, padding = encoder_out["encoder_out"][0], (encoder_out["encoder_padding_mask"] or [None])[0]
            return memory, None if padding is None else ~padding[:, None, None, :]
        kept = self.get_incremental_state(state, "memory")
        if kept is not None:
            return whole_of(encoder_out)["encoder_out"][0], kept.get("mask")
        memory, padding = sentences_of(encoder_out)
        batch, sentences = x_BTC.shape[0], memory.shape[1]
        kept = {"rows": rows_of(sentences, batch, x_BTC.device)}
        if padding is not None:
            kept["mask"] = x_BTC.new_zeros(padding.shape).masked_fill(padding, float("-inf"))[:, None, None, :]
        if sentences != batch:
            others = ~torch.eye(batch // sentences, dtype=torch.bool, device=x_BTC.device)
            kept["own"] = x_BTC.new_zeros(others.shape).masked_fill(others, float("-inf"))
            kept["read"] = x_BTC.new_empty(batch, 0)
        self.set_incremental_state(state, "memory", kept)
        # Once a decoding: at every step, asking all modules would take as long as some layers do.
        self._others = [m for m in self.modules() if m is not self and hasattr(m, "reorder_incremental_state")]
        return memory, kept.get("mask")

    def _hypotheses(self, state: State, x_BTC: Tensor) -> Tensor | None:
        """Returns which of the keys each hypothesis of a sentence may read, for an incremental step.

        The self-attentions keep what all hypotheses of a sentence wrote, and never move it; this mask, to be added to
        the scores, is what follows the beams: (sentences, 1, hypotheses, steps * hypotheses).
        """
        kept = self.get_incremental_state(state, "memory")
        batch, steps, _ = x_BTC.shape
        if kept is None or "own" not in kept:
            return None
        own = kept["own"]
        kept["read"] = torch.cat([kept["read"], own.repeat(batch // len(own), steps)], dim=1)
        return kept["read"].unflatten(0, (-1, len(own))).unsqueeze(1)

    def reorder_incremental_state_scripting(self, incremental_state: State, new_order: Tensor) -> None:
        """fairseq's way to :meth:`reorder_incremental_state`, and to that of modules that somebody put in here."""
        self.reorder_incremental_state(incremental_state, new_order)
        for module in self._others:
            module.reorder_incremental_state(incremental_state, new_order)

    def reorder_incremental_state(self, incremental_state: State, new_order: Tensor) -> State:
        """Follows the beams: rows of what is kept between steps are picked in `new_order` (new batch).

        While the sentences stay, only the masks of their hypotheses are, no keys and values.
        """
        kept = self.get_incremental_state(incremental_state, "memory")
        rows = None if kept is None else kept["rows"].index_select(0, new_order)
        if kept is not None and not same(rows, kept["rows"]):
            self._regroup(incremental_state, kept, new_order, *runs(rows))
        elif kept is not None and "own" in kept:
            kept["read"] = kept["read"].index_select(0, new_order)
        elif kept is None or not same(new_order, torch.arange(len(new_order), device=new_order.device)):
            for layer in self.active:
                layer.self_attn.reorder(incremental_state, new_order)
        return incremental_state

    def _regroup(self, state: State, kept: dict[str, Tensor], new_order: Tensor, sentences: Tensor, group: int) -> None:
        """Picks `sentences` of all that is kept, of which there now are `group` hypotheses each."""
        together = "own" in kept and len(kept["own"]) == group
        for layer in self.active:
            if "own" in kept and not together:
                layer.self_attn.separate(state, kept["read"].unflatten(1, (-1, len(kept["own"]))), kept["rows"])
            layer.self_attn.reorder(state, sentences if together else new_order)
            layer.encoder_attn.reorder(state, sentences)
        now = {"rows": rows_of(len(sentences), len(new_order), new_order.device)}
        if "mask" in kept:
            now["mask"] = kept["mask"].index_select(0, sentences)
        if together:
            now.update(own=kept["own"], read=kept["read"].index_select(0, new_order))
        self.set_incremental_state(state, "memory", now)

    def make_generation_fast_(self, need_attn: bool | str | None = False, **others) -> None:
        """fairseq's call before it generates: steps give no attention to the source unless it is asked for.

        Args:
            need_attn: whether alignments will be printed.
            others: for other modules.
        """
        self.attention_in_decoding = bool(need_attn)

    def _self_mask(self, tokens: Tensor, full_context: bool) -> tuple[Tensor | None, bool]:
        """Returns the mask of the self-attention and whether it is simply causal.

        With padding on the right, the causal mask alone keeps real positions away from padding.
        """
        length = tokens.shape[1]
        is_pad = tokens.eq(self.padding_idx)
        if not (full_context or bool(is_pad[:, 0].any())):
            return None, True
        mask = ~is_pad[:, None, None, :]
        if not full_context:
            mask = mask & torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        # A position that may attend to nothing (padding on the left) attends to itself: no NaN arises.
        return mask | torch.eye(length, dtype=torch.bool, device=tokens.device), False

    def output_layer(self, features: Tensor) -> Tensor:
        """Maps features (batch, target length, embed) to scores (batch, target length, vocabulary)."""
        # As one matrix: for a batch of matrices, whether torch folds them depends on whether the weight
        # requires a gradient, so a supernet (kept tensors) and its subnet (parameters) would differ in the
        # last bit.
        flat = features.flatten(0, -2)
        if self.output_projection is not None:
            scores = self.output_projection(flat)
        else:
            scores = self.embed_tokens.scores(flat)
        return scores.unflatten(0, features.shape[:-1])

    def output_weights(self) -> tuple[Tensor, Tensor | None]:
        """Returns what :meth:`output_layer` multiplies features with, (vocabulary, embed), and its bias or None."""
        if self.output_projection is not None:
            return self.output_projection.active()
        return self.embed_tokens.active()[:, : self.embed_dim], None

    def get_normalized_probs(self, net_output, log_probs: bool, sample=None) -> Tensor:
        """Normalises scores (batch, target length, vocabulary) to probabilities or their logarithms.

        Those of an incremental step are overwritten: in fairseq's search they belong to nobody else (it divides them by
        the temperature likewise), and fresh memory would cost more than the normalising.
        """
        scores, extra = net_output[0], net_output[1]
        ours = log_probs and extra is not None and extra.get("incremental") and not torch.is_grad_enabled()
        if ours and scores.dtype == torch.float32 and scores.device.type == "cpu":
            return torch.log_softmax(scores, dim=-1, out=scores)
        return super().get_normalized_probs(net_output, log_probs, sample)

    def max_positions(self) -> int:
        """Longest target that is accepted, in tokens."""
        return self.max_target_positions
