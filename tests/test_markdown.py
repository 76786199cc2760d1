"""What stands in Markdown is what was given."""

from __future__ import annotations

import pytest

from fairseq_mos.markdown import code, escape


@pytest.mark.parametrize(
    ("text", "escaped", "coded"),
    [
        ("s:random:1", "s:random:1", "`s:random:1`"),
        ("checkpoint_best", "checkpoint_best", "`checkpoint_best`"),
        ("_a_ __b__", r"\_a\_ \_\_b\_\_", "`_a_ __b__`"),
        ("a|b", r"a\|b", "`a|b`"),
        ("*a* [b](c) <d> &amp; $e$ ~f~", r"\*a\* \[b\](c) \<d\> \&amp; \$e\$ \~f\~", "`*a* [b](c) <d> &amp; $e$ ~f~`"),
        ("a`b", r"a\`b", "``a`b``"),
        ("`a``", r"\`a\`\`", "``` `a`` ```"),
        ("a\\", "a\\\\", "`a\\`"),
        ("-a", "-a", "`-a`"),
    ],
)
def test_markdown(text, escaped, coded):
    assert escape(text) == escaped and code(text) == coded
