"""How a repair replaces a function: once, keeping its name, signature and earlier repairs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_TAGS = "__mos_repairs__"


def is_replaced(owner: Any, name: str, tag: str) -> bool:
    """Whether :func:`replace` already put `tag` on `owner.name` (under any later replacement)."""
    return tag in getattr(getattr(owner, name), _TAGS, ())


def replace(owner: Any, name: str, tag: str, make: Callable[[Callable], Callable]) -> bool:
    """Replaces the function `owner.name` by `make(original)` unless that was done before.

    Args:
        owner: a module or a class.
        name: the attribute; static methods stay static, and class methods, which `make` sees as functions of
            the class, class methods.
        tag: identifies the repair, so that several can wrap one function, each once.
        make: takes the present function and returns the one to call instead.

    Returns:
        Whether anything was replaced.
    """
    if is_replaced(owner, name, tag):
        return False
    method = vars(owner).get(name) if isinstance(owner, type) else None
    original = method.__func__ if isinstance(method, classmethod) else getattr(owner, name)
    new = functools.wraps(original)(make(original))
    setattr(new, _TAGS, (*getattr(original, _TAGS, ()), tag))
    setattr(owner, name, type(method)(new) if isinstance(method, (classmethod, staticmethod)) else new)
    return True
