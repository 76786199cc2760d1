"""What a model writes into the configuration that its checkpoints hold."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

from omegaconf import DictConfig, open_dict


def root_config(cfg) -> DictConfig | None:
    """Returns the configuration that the trainer saves, of which `cfg` (a `build_model` argument) is a part.

    fairseq hands `build_model` a merged copy of the model's part, which still knows its parent.
    """
    root = cfg._get_parent() if isinstance(cfg, DictConfig) else None
    return root if isinstance(root, DictConfig) else None


def embed_in_config(cfg, node: str, **values) -> None:
    """Writes values into the configuration that the checkpoint will hold.

    So what a YAML file said when training started travels with the checkpoint.

    Args:
        cfg: the configuration that `build_model` was given.
        node: the part of the root configuration to write to, `model` or `task`.
        values: what to write.
    """
    root = root_config(cfg)
    if root is not None and isinstance(root.get(node), DictConfig):
        with open_dict(root[node]):
            root[node].update(values)


def add_missing(cfg, kind: type) -> None:
    """Adds the options that a checkpoint of an earlier version does not know, with their defaults.

    fairseq does that for names of models alone, not for those of architectures (`build_model` in
    `models/__init__.py`).

    Args:
        cfg: the configuration that `build_model` was given.
        kind: its dataclass.
    """
    with open_dict(cfg) if isinstance(cfg, DictConfig) else nullcontext():
        for field in dataclasses.fields(kind):
            if not hasattr(cfg, field.name):
                setattr(cfg, field.name, field.default)
