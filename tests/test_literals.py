"""No text of a configuration is run: what fairseq evaluates is a literal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import fairseq
import pytest

import fairseq_mos
from fairseq_mos.compat.literals import literal
from fairseq_mos.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "[(512, 3)] * 20 + [(1024, 3)] * 2",
        "(0.9, 0.98)",
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2",
        "{'a': [1, -2.5], 'b': None}",
        "True",
        " 4096 ",
        "-1e-8",
        "'text'",
        "2 * [1]",
        "1 + 2 * 3 - 4",
    ],
)
def test_literals_and_their_sums_and_products_mean_what_they_meant(text):
    assert literal(text) == eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[x for x in ()]",
        "(lambda: 1)()",
        "open('/etc/passwd')",
        "[1] * 10**9",
        "[0] * 100000000",
        "9**9**9",
        "'a' * 10000000",
        "a",
        "1; 2",
        "f'{1}'",
        "(" * 5000,
        "{**{}}",
        "",
        "9" * 20_000,
    ],
)
def test_everything_else_is_refused_at_once(text):
    with pytest.raises(UserError, match="is no literal, allowed: numbers, text"):
        literal(text)


def test_all_of_fairseq_evaluates_literals_alone():
    fairseq_mos.register()
    from fairseq import utils

    assert utils.eval_str_list("[1, 2] * 2") == [1.0, 2.0, 1.0, 2.0]
    assert utils.eval_str_list("0.5") == [0.5] and utils.eval_bool("True") is True
    assert utils.eval_bool(None, True) is True and utils.eval_bool(3) is False
    for evaluate in (utils.eval_str_list, utils.eval_str_dict, utils.eval_bool):
        with pytest.raises(UserError):
            evaluate("print(1)")
    package = Path(fairseq.__file__).parent
    own = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "examples"]
    using = [path for path in own if re.search(r"(?<![.\w])eval\(", path.read_text("utf-8"))]
    names = [".".join(path.relative_to(package.parent).with_suffix("").parts) for path in using]
    assert len(names) > 10
    assert all(sys.modules[name].eval is literal for name in names if name in sys.modules)
    # What is imported neither by models nor by tasks, criterions or optimizers is found by no name in a checkpoint.
    assert {name for name in names if name not in sys.modules} <= {"fairseq.optim.cpu_adam"}
