"""Names and texts from anywhere, in HTML, Markdown, addresses and names of files."""

from __future__ import annotations

import pytest

from fairseq_mos.report.texts import as_html, as_markdown, plain, slug, unique


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("*a* _b_ `c` [d](e)", "\\*a\\* \\_b\\_ \\`c\\` \\[d\\](e)"),
        ("<b>&amp;", "&lt;b>&amp;amp;"),
        ("$x$ ~~y~~ \\|", "\\$x\\$ \\~\\~y\\~\\~ \\\\\\|"),
        ("one\ntwo", "one<br>two"),
        ("# a", "\\# a"),
        ("> a", "\\> a"),
        ("- a", "\\- a"),
        ("+ a", "\\+ a"),
        ("---", "\\---"),
        ("12. a", "12\\. a"),
        ("12) a", "12\\) a"),
        ("-", "-"),
        ("-1.5", "-1.5"),
        ("3.5 ms", "3.5 ms"),
        ("    code", "code"),
        ("a\udcff\x01b", "a\\\\udcff\\\\x01b"),
    ],
)
def test_markdown(text, shown):
    assert as_markdown(text) == shown


def test_html():
    assert as_html("<a href='x'>&\x1b\ud800\n") == "&lt;a href=&#x27;x&#x27;&gt;&amp;\\x1b\\ud800\n"


def test_what_languages_need_stays():
    text = "il\xa0est\u3000\u0645\u06cc\u200c\u062e\u0648\U0001f600\u00ad"
    assert plain(text) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [("A b/C_1.x", "a-b-c-1-x"), ("中文", "unnamed"), ("", "unnamed"), ("../..", "unnamed"), ("n" * 300, "n" * 80)],
)
def test_slugs(name, expected):
    assert slug(name) == expected


def test_names_that_are_there_get_numbers():
    assert unique(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-2", "a-2-2", "a-3"]
    assert len(set(unique(["x"] * 20_000))) == 20_000
