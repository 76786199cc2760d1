"""Configurations that hold objects, on OmegaConf 2.0 (which fairseq 0.12.2 asks for) and later."""

from __future__ import annotations

from typing import Any


def config_of(values: Any):
    """Returns values as OmegaConf's, where a namespace may stand for a mapping, as fairseq's legacy options do.

    Raises:
        OmegaConfBaseException: values that it cannot hold.
    """
    from fairseq.dataclass.utils import omegaconf_no_object_check
    from omegaconf import OmegaConf

    with omegaconf_no_object_check():
        cfg = OmegaConf.create(values)
    cfg._set_flag("allow_objects", True)
    return cfg
