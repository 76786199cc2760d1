"""A report as data, and its two forms: one self-contained HTML page, and Markdown with pictures beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fairseq_mos.errors import UserError
from fairseq_mos.files import atomic_write, check_folder, replaced_folder
from fairseq_mos.paths import exists, is_folder
from fairseq_mos.report.texts import as_html as e
from fairseq_mos.report.texts import as_markdown as m
from fairseq_mos.report.texts import plain, slug, unique
from fairseq_mos.tables import markdown_lines


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
    """A picture as SVG, with a name for its file, which need not be unique."""

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


@dataclass
class Document:
    """A report."""

    title: str
    summary: str
    facts: dict[str, str]
    sections: list[Section]

    def anchors(self) -> list[str]:
        """Returns the sections' addresses within the page."""
        return unique(slug(section.title) for section in self.sections)

    def pictures(self) -> dict[str, str]:
        """Returns the figures: name of the file -> SVG, in their order on the page."""
        figures = [b for section in self.sections for b in section.blocks if isinstance(b, Figure)]
        return dict(zip((f"{name}.svg" for name in unique(slug(f.name) for f in figures)), (f.svg for f in figures)))


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
    parts = list(zip(document.anchors(), document.sections))
    links = "".join(f'<a href="#{anchor}">{e(section.title)}</a>' for anchor, section in parts)
    body = "".join(
        f'<section id="{anchor}"><h2>{e(section.title)}</h2>'
        f"{''.join(_block_html(block, f'{anchor}-{place}') for place, block in enumerate(section.blocks))}</section>"
        for anchor, section in parts
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{e(document.title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><div><h1>{e(document.title)}</h1><p>{e(document.summary)}</p><nav>{links}</nav></div></header>"
        f"<main>{_block_html(Facts(document.facts), 'facts')}{body}</main></body></html>\n"
    )


def _block_html(block, place: str) -> str:
    """Returns a block's HTML; `place` is no other's."""
    if isinstance(block, Text):
        return f"<p{_CAPTION if block.small else ''}>{e(block.text)}</p>"
    if isinstance(block, Table):
        head = "".join(f"<th>{e(cell)}</th>" for cell in block.headers)
        rows = "".join("<tr>" + "".join(f"<td>{_cell_html(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
        table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        return table + (f"<p{_CAPTION}>{e(block.caption)}</p>" if block.caption else "")
    if isinstance(block, Figure):
        return f"<figure>{_own_names(block.svg, place)}<figcaption>{e(block.caption)}</figcaption></figure>"
    if isinstance(block, Facts):
        cards = "".join(f"<div><dt>{e(name)}</dt><dd>{e(value)}</dd></div>" for name, value in block.values.items())
        return f'<dl class="facts">{cards}</dl>'
    if isinstance(block, Code):
        return f"<pre>{e(block.text)}</pre>"
    return '<dl class="example">' + "".join(f"<dt>{e(k)}</dt><dd>{e(v)}</dd>" for k, v in block.lines.items()) + "</dl>"


def _own_names(svg: str, place: str) -> str:
    """Gives the ids of one picture a prefix of its own: several share a page."""
    svg = re.sub(r'\bid="', f'id="{place}-', svg)
    svg = re.sub(r'((?:xlink:)?href="#)', rf"\1{place}-", svg)
    return re.sub(r"url\(#", f"url(#{place}-", svg)


def _cell_html(cell: str) -> str:
    first, *more = cell.split("\n")
    return e(first) + "".join(f"<br><small>{e(line)}</small>" for line in more)


def as_markdown(document: Document, pictures: str) -> str:
    """Returns Markdown; `pictures` is the folder of the figures, relative to it."""
    files = iter([f"{quote(os.fsencode(pictures))}/{name}" for name in document.pictures()])
    lines = [f"# {m(document.title)}", "", m(document.summary)]
    lines += ["", *_block_markdown(Facts(document.facts), files)]
    for section in document.sections:
        lines += ["", f"## {m(section.title)}"]
        for block in section.blocks:
            lines += ["", *_block_markdown(block, files)]
    return "\n".join(lines) + "\n"


def _block_markdown(block, files: Iterator[str]) -> list[str]:
    if isinstance(block, Text):
        return [m(block.text)]
    if isinstance(block, Figure):
        return [f"![{m(block.caption)}]({next(files)})", "", m(block.caption)]
    if isinstance(block, Code):
        longest = max(map(len, re.findall("`+", block.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return [fence, plain(block.text), fence]
    if isinstance(block, (Facts, Examples)):
        values = block.values if isinstance(block, Facts) else block.lines
        return [f"- {m(name)}: {m(text)}" for name, text in values.items()]
    lines = markdown_lines([list(map(m, row)) for row in (block.headers, *block.rows)])
    return [*lines, *(["", m(block.caption)] if block.caption else [])]


def check_output(output: Path) -> None:
    """Checks, before long work, that a report can be written; see :func:`write`.

    Raises:
        UserError: it cannot.
    """
    html, markdown, folder = _places(output)
    check_folder(output.parent)
    for file in (html, markdown):
        if is_folder(file):
            raise UserError(f"cannot write {file}: it is a folder")
    if exists(folder) and not is_folder(folder):
        raise UserError(f"cannot write {folder}: it is a file, expected a folder of pictures")


def write(document: Document, output: Path) -> list[Path]:
    """Writes OUTPUT.html, OUTPUT.md and the folder of its pictures; `output` is a path without ending.

    Raises:
        UserError: they cannot be written, or the folder holds something else.
    """
    html, markdown, folder = _places(output)
    # In one step, with what an earlier report drew there, or left when it was interrupted.
    with replaced_folder(folder, own=("*.svg", ".*.svg.*.tmp")) as pictures:
        for name, svg in document.pictures().items():
            (pictures / name).write_text(svg, "utf-8")
        for file, text in ((html, as_html(document)), (markdown, as_markdown(document, folder.name))):
            with atomic_write(file) as stream:
                stream.write(text)
    return [html, markdown]


def _places(output: Path) -> tuple[Path, Path, Path]:
    html, markdown, folder = (output.with_name(f"{output.name}{end}") for end in (".html", ".md", "-pictures"))
    return html, markdown, folder
