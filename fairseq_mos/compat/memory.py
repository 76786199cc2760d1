"""Freed memory stays with a process that computes on a CPU."""

from __future__ import annotations

import ctypes
import os

# Of <malloc.h>: what the heap keeps at its top, what it grows by, and from which size on a block is mapped.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MOST, _STEP, _LARGE = 2**31 - 1, 2**26, (2**30, 2**25)


def keep_freed_memory() -> bool:
    """Tells the C library to keep what tensors free, where there is no GPU.

    glibc returns large blocks to the operating system at once, so that each step of a training gets its activations and
    gradients as new pages, which the kernel finds and clears one by one: more than 100,000 a step of 3,000 tokens.
    Whoever sets `MALLOC_*` or `GLIBC_TUNABLES` is left alone, as is another C library.

    Returns:
        Whether it was told.
    """
    import torch

    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or torch.cuda.is_available() or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_TRIM_THRESHOLD, _MOST)
    mallopt(_TOP_PAD, _STEP)
    # Older releases refuse more than the second.
    return any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGE)


def _is_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {}) and bool(os.confstr("CS_GNU_LIBC_VERSION"))
