"""numpy 2 removed names that fairseq still uses."""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

# fairseq module -> why it needs the alias (the name it reads from `np`).
_MODULES = (
    "fairseq.data.token_block_dataset",  # np.compat.long, with --sample-break-mode eos
    "fairseq.data.language_pair_dataset",  # np.compat.long, in filter_indices_by_size
    "fairseq.data.data_utils",  # np.int in mask spans, np.percentile in get_buckets
    "fairseq.modules.dynamic_crf_layer",  # np.float, in the non-autoregressive CRF
)


def _needs_aliases(np: types.ModuleType) -> bool:
    try:
        return not (np.compat.long and np.int and np.float)
    except AttributeError:
        return True


def _needs_percentile(np: types.ModuleType) -> bool:
    try:
        np.percentile([1, 2], 50, interpolation="lower")
    except TypeError:
        return True
    return False


def repair_aliases() -> bool:
    """Gives fairseq's modules the parts of numpy 1 that they use, and nobody else.

    numpy 1.24 removed `np.int` and `np.float`, numpy 2.0 removed `np.compat`, numpy 2.4 removed
    `interpolation` of `np.percentile` (now `method`), which `data_utils.get_buckets` passes for
    `--num-batch-buckets`. Putting them into numpy itself would mislead other packages that look there
    to find out numpy's version, so the modules concerned get a copy of numpy's namespace.
    """
    changed = False
    for name in _MODULES:
        module = sys.modules.get(name) or importlib.import_module(name)
        aliases, percentile = _needs_aliases(module.np), _needs_percentile(module.np)
        if not (aliases or percentile):
            continue
        numpy = types.ModuleType("numpy", "numpy with what fairseq still uses of numpy 1")
        numpy.__dict__.update(vars(module.np))
        if aliases:
            numpy.compat = types.SimpleNamespace(long=int)
            numpy.int, numpy.float = int, float
        if percentile:
            numpy.percentile = _with_interpolation(module.np.percentile)
        module.np = numpy
        changed = True
    return changed


def _with_interpolation(percentile: Callable) -> Callable:
    @functools.wraps(percentile)
    def accepting(*args: Any, interpolation: str | None = None, **kwargs: Any) -> Any:
        if interpolation is not None:
            kwargs["method"] = interpolation
        return percentile(*args, **kwargs)

    return accepting
