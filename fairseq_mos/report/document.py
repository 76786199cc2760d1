"""A report as data, and its two forms: one self-contained HTML page, and Markdown with pictures beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_mos.files import atomic_write


@dataclass(frozen=True)
class Text:
    """A paragraph, in small print if it is a signature or the like."""

    text: str
    small: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others are numbers. What follows a cell's first line is in small print."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture as SVG, with a name for its file."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Code:
    """Commands."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and values, as small cards."""

    values: dict[str, str]


@dataclass(frozen=True)
class Examples:
    """Translations of one sentence: what it is -> text."""

    lines: dict[str, str]


@dataclass
class Section:
    """A chapter."""

    title: str
    blocks: list = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The title as part of an address."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass
class Document:
    """A report."""

    title: str
    summary: str
    facts: dict[str, str]
    sections: list[Section]


_STYLE = """
:root { --ink:#1b1f24; --soft:#57606a; --line:#d8dee4; --page:#ffffff; --band:#f6f8fa; --accent:#0b5cad; }
* { box-sizing:border-box } html { scroll-behavior:smooth }
body { margin:0; color:var(--ink); background:var(--page);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif }
main { max-width:1040px; margin:0 auto; padding:24px 20px 80px }
header { background:var(--band); border-bottom:1px solid var(--line) }
header div { max-width:1040px; margin:0 auto; padding:32px 20px 20px }
h1 { margin:0 0 6px; font-size:30px; line-height:1.2 } h2 { margin:44px 0 10px; font-size:22px }
header p { margin:0; color:var(--soft); max-width:75ch }
nav { margin-top:16px; display:flex; flex-wrap:wrap; gap:6px 16px; font-size:14px }
a { color:var(--accent); text-decoration:none } a:hover { text-decoration:underline }
.facts { display:grid; grid-template-columns:repeat(auto-fit,minmax(180px,1fr)); gap:12px; margin:24px 0 0 }
section .facts { gap:8px; margin-top:8px } section .facts div { padding:7px 12px }
section .facts dd { font-size:14px; overflow-wrap:anywhere }
.facts div { border:1px solid var(--line); border-radius:8px; padding:10px 14px; background:var(--page) }
.facts dt { font-size:12px; color:var(--soft) } .facts dd { margin:2px 0 0; font-size:18px; font-weight:600 }
.scroll { overflow-x:auto } table { border-collapse:collapse; font-size:14px; margin:12px 0; width:100% }
th,td { padding:7px 10px; text-align:right; border-bottom:1px solid var(--line); white-space:nowrap }
th { background:var(--band); font-weight:600 } th:first-child,td:first-child { text-align:left }
tbody tr:hover { background:var(--band) } td { vertical-align:top } small { color:var(--soft) }
.caption { color:var(--soft); font-size:13px; margin-top:0 }
figure { margin:16px 0; border:1px solid var(--line); border-radius:8px; padding:12px; overflow-x:auto }
figure svg { display:block; max-width:100%; height:auto; margin:0 auto }
figcaption { color:var(--soft); font-size:14px; margin-top:8px }
pre { background:var(--band); border:1px solid var(--line); border-radius:8px; padding:14px;
 white-space:pre; overflow-x:auto;
 font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace }
.example { display:grid; grid-template-columns:max-content 1fr; gap:2px 16px; border-left:3px solid var(--line);
 padding:6px 0 6px 16px; margin:16px 0; font-size:15px }
.example dt { color:var(--soft); font-size:13px; padding-top:2px } .example dd { margin:0 }
p { overflow-wrap:anywhere }
@media print { nav { display:none } figure,table { break-inside:avoid } }
"""


_CAPTION = ' class="caption"'


def as_html(document: Document) -> str:
    """Returns one page that needs no other file and no network."""
    e = html.escape
    links = "".join(f'<a href="#{section.anchor}">{e(section.title)}</a>' for section in document.sections)
    body = "".join(
        f'<section id="{section.anchor}"><h2>{e(section.title)}</h2>'
        f"{''.join(map(_block_html, section.blocks))}</section>"
        for section in document.sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{e(document.title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><div><h1>{e(document.title)}</h1><p>{e(document.summary)}</p><nav>{links}</nav></div></header>"
        f"<main>{_block_html(Facts(document.facts))}{body}</main></body></html>\n"
    )


def _block_html(block) -> str:
    e = html.escape
    if isinstance(block, Text):
        return f"<p{_CAPTION if block.small else ''}>{e(block.text)}</p>"
    if isinstance(block, Table):
        head = "".join(f"<th>{e(cell)}</th>" for cell in block.headers)
        rows = "".join("<tr>" + "".join(f"<td>{_cell_html(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
        table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        return table + (f'<p{_CAPTION}>{e(block.caption)}</p>' if block.caption else "")
    if isinstance(block, Figure):
        return f"<figure>{block.svg}<figcaption>{e(block.caption)}</figcaption></figure>"
    if isinstance(block, Facts):
        cards = "".join(f"<div><dt>{e(name)}</dt><dd>{e(value)}</dd></div>" for name, value in block.values.items())
        return f'<dl class="facts">{cards}</dl>'
    if isinstance(block, Code):
        return f"<pre>{e(block.text)}</pre>"
    return '<dl class="example">' + "".join(f"<dt>{e(k)}</dt><dd>{e(v)}</dd>" for k, v in block.lines.items()) + "</dl>"


def _cell_html(cell: str) -> str:
    first, *more = cell.split("\n")
    return html.escape(first) + "".join(f"<br><small>{html.escape(line)}</small>" for line in more)


def as_markdown(document: Document, pictures: str) -> str:
    """Returns Markdown; `pictures` is the folder of the figures, relative to it."""
    lines = [f"# {_escape(document.title)}", "", _escape(document.summary)]
    lines += ["", *_block_markdown(Facts(document.facts), pictures)]
    for section in document.sections:
        lines += ["", f"## {section.title}"]
        for block in section.blocks:
            lines += ["", *_block_markdown(block, pictures)]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _block_markdown(block, pictures: str) -> list[str]:
    if isinstance(block, Text):
        return [_escape(block.text)]
    if isinstance(block, Figure):
        return [f"![{_escape(block.caption)}]({pictures}/{block.name}.svg)", "", _escape(block.caption)]
    if isinstance(block, Code):
        return ["```", block.text, "```"]
    if isinstance(block, Facts):
        return [f"- {name}: {_escape(value)}" for name, value in block.values.items()]
    if isinstance(block, Examples):
        return [f"- {name}: {_escape(text)}" for name, text in block.lines.items()]
    lines = ["| " + " | ".join(map(_escape, block.headers)) + " |", "|---|" + "---:|" * (len(block.headers) - 1)]
    lines += ["| " + " | ".join(_escape(cell).replace("\n", "<br>") for cell in row) + " |" for row in block.rows]
    return [*lines, *(["", _escape(block.caption)] if block.caption else [])]


def write(document: Document, output: Path) -> list[Path]:
    """Writes OUTPUT.html, OUTPUT.md and the folder of its pictures; `output` is a path without ending."""
    files = [output.with_name(f"{output.name}{ending}") for ending in (".html", ".md")]
    folder = output.with_name(f"{output.name}-pictures")
    # The pages first: if one cannot be written, that is the file to name.
    for file, text in zip(files, (as_html(document), as_markdown(document, folder.name))):
        with atomic_write(file) as stream:
            stream.write(text)
    for block in (block for section in document.sections for block in section.blocks):
        if isinstance(block, Figure):
            with atomic_write(folder / f"{block.name}.svg") as stream:
                stream.write(block.svg)
    return files
