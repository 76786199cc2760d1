"""Text of a configuration is data: where fairseq evaluates it, only literals are left."""

from __future__ import annotations

import ast
import operator
import sys
from collections.abc import Callable
from typing import Any

from fairseq_mos.documents import show
from fairseq_mos.errors import UserError

_MAX_TEXT = 10_000
_MAX_ITEMS = 10_000
_MAX_NUMBER = 2**63


def literal(text: str) -> Any:
    """Returns what an expression of literals stands for.

    Numbers, text, lists, tuples, sets, dictionaries; and sums and products of them, since fairseq's defaults
    are of the kind `[(512, 3)] * 20 + [(512, 1)]`.

    Raises:
        UserError: anything else, or a result of more than 10,000 items.
        TypeError: not text, as the builtin `eval` says it.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected text, got {type(text).__name__}")
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, OverflowError):
        raise UserError(
            f"{show(text)} is no literal, allowed: numbers, text, lists, tuples and dictionaries of them, and their "
            "sums and products, such as [(512, 3)] * 20"
        ) from None


_OPERATORS: dict[type, Callable] = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        sizes = [_size(side) for side in (left, right)]
        if isinstance(node.op, ast.Mult):
            # A sequence times a number: items times the number itself.
            numbers = [side for side in (left, right) if isinstance(side, (int, float))]
            if len(numbers) == 1 and not (isinstance(numbers[0], int) and numbers[0] * max(sizes) <= _MAX_ITEMS):
                raise ValueError
        result = _OPERATORS[type(node.op)](left, right)
        if _size(result) > _MAX_ITEMS or (isinstance(result, (int, float)) and abs(result) > _MAX_NUMBER):
            raise ValueError
        return result
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        operand = _value(node.operand)
        return -operand if isinstance(node.op, ast.USub) else +operand
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values)}
    return ast.literal_eval(node)


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple, set, dict)) else 1


def repair_eval() -> bool:
    """Lets fairseq's modules evaluate literals alone.

    `eval_str_list`, `eval_str_dict` and `eval_bool` (`utils.py`), and models, optimizers and criterions themselves
    (`fconv.py`: `eval(args.encoder_layers)`, wav2vec, lightconv and others) evaluate strings of their
    configuration, which a checkpoint brings along: loading a stranger's checkpoint would run what it says.
    A module's own name `eval` comes before the builtin one.
    """
    import fairseq.criterions
    import fairseq.models
    import fairseq.optim
    import fairseq.tasks
    import fairseq.utils

    if vars(fairseq.utils).get("eval") is literal:
        return False
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "fairseq" and module is not None:
            module.eval = literal
    return True
