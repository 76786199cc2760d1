"""A subnet as a checkpoint of fairseq's stock `roberta`, which needs no plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from fairseq.models.roberta.model import base_architecture
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_mos.export import checkpoint
from fairseq_mos.families.masked_lm.limits import refuse, shape_limits
from fairseq_mos.families.masked_lm.texts import task_with
from fairseq_mos.models.bundle import Bundle
from fairseq_mos.models.masked_lm import TABLE

_EPS = 1e-5
_KEPT = (
    "dropout", "attention_dropout", "activation_dropout", "activation_fn", "encoder_normalize_before",
    "pooler_activation_fn", "pooler_dropout",
)  # fmt: skip


def to_stock(bundle: Bundle) -> Bundle:
    """Returns the same function as fairseq's `roberta`.

    Raises:
        UserError: it cannot express the architecture or an option; names them.
    """
    architecture, options = bundle.subnet("stock"), bundle.config["model"]
    limits, eps = shape_limits(architecture), float(options["layer_norm_eps"])
    if eps != _EPS:
        limits.append(f"layer_norm_eps {eps:g}, since its own is {_EPS:g}")
    refuse("stock", limits, "fairseq's roberta")
    model = bundle.model
    cfg = _complete({name: options[name] for name in _KEPT} | dict(vars(model.args)))
    stock = _build(cfg, model.dictionary)
    for name, head in model.classification_heads.items():
        stock.register_classification_head(name, head.out_proj.out_features, head.dense.out_features)
    _fill(stock, model.state_dict())
    return replace(bundle, model=stock.eval(), config={**bundle.config, "model": cfg})


def write(bundle: Bundle, output: str | Path, check: Callable[[Path], None] | None = None) -> list[Path]:
    """Writes a checkpoint of the stock `roberta`, dictionary and subword model beside it.

    Args:
        bundle: the subnet.
        output: the file.
        check: see :func:`fairseq_mos.export.checkpoint.publish`.

    Returns:
        What was written.

    Raises:
        UserError: as :func:`to_stock`, or an output that cannot be written.
    """
    return checkpoint.write(to_stock(bundle), output, check)


def of_weights(weights: Mapping[str, Tensor], sizes: Mapping[str, int], dictionary: Dictionary, eps: float):
    """Returns fairseq's `roberta` with given weights, by our names, in eval mode.

    Args:
        weights: of a model without bottlenecks.
        sizes: fairseq's names of sizes.
        dictionary: of the tokens, with the mask.
        eps: of layer norms.
    """
    model = _build(_complete(dict(sizes)), dictionary)
    _fill(model, weights)
    for part in model.modules():
        if hasattr(part, "eps"):
            part.eps = eps
    return model.eval()


def _build(cfg: dict, dictionary: Dictionary) -> RobertaModel:
    return RobertaModel.build_model(OmegaConf.create(cfg), task_with(dictionary, cfg["max_positions"]))


def _fill(model: RobertaModel, weights: Mapping[str, Tensor]) -> None:
    # Its own version of the names is kept: without, it takes the weights for old ones, and leaves out the last norm.
    state = model.state_dict()
    for name, tensor in weights.items():
        state[name.replace("encoder.lm_head.dense_layer.", "encoder.lm_head.dense.")] = tensor
    # The table under its second name.
    state["encoder.lm_head.weight"] = state[TABLE]
    model.load_state_dict(state)


def _complete(config: dict) -> dict:
    """Fills in the stock model's defaults."""
    args = SimpleNamespace(**config)
    base_architecture(args)
    # What its parser says, which no named architecture does.
    further = {"quant_noise_pq_block_size": 8, "load_checkpoint_heads": True, "min_params_to_wrap": int(1e8)}
    return {"_name": "roberta", "arch": "roberta", **further, **vars(args)}
