"""An architecture as a picture: layer by layer, beside the largest one of its space."""

from __future__ import annotations

from html import escape

from fairseq_mos.arch import Architecture
from fairseq_mos.families import family_of
from fairseq_mos.families.base import DrawnStack

_ROW, _WIDTH, _BAR = 46, 430, 250
# The decoder's words are longer: "8 heads, cross 8, last 3".
_TOTAL = 2 * _WIDTH + 50
_INK, _SOFT, _FFN, _ATTENTION, _GHOST = "#1b1f24", "#57606a", "#0072b2", "#e69f00", "#e6eaee"


def architecture_svg(architecture: Architecture, largest: Architecture | None = None) -> str:
    """Returns a picture of the stacks, the input at the bottom; nothing for a family without one.

    Blue bars are feed-forward widths, orange ticks heads; what the largest architecture has more is pale.

    Args:
        architecture: to be drawn.
        largest: of its search space, as the frame; by default the architecture itself.
    """
    family = family_of(architecture)
    own, frames = family.drawing(architecture), family.drawing(largest or architecture)
    if not own:
        return ""
    height = max(len(frame.layers) for frame in frames) * _ROW + 96
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_TOTAL} {height}" width="{_TOTAL}" '
        f'height="{height}" role="img" font-family="system-ui,sans-serif" font-size="13" fill="{_INK}">',
        f"<title>Layers of architecture {escape(architecture.digest())}</title>",
    ]
    widest = max(layer.width for frame in frames for layer in frame.layers)
    for column, (stack, frame) in enumerate(zip(own, frames)):
        x = column * _WIDTH + 20
        parts.append(
            f'<text x="{x}" y="20" font-weight="600">{stack.name}: width {stack.width} of {frame.width}, '
            f"{len(stack.layers)} of {len(frame.layers)} layers</text>"
        )
        for index in range(len(frame.layers)):
            y = height - 56 - (index + 1) * _ROW
            parts += _layer(stack, frame, index, x, y, widest)
    parts += _key(height - 22, "last " in "".join(layer.words for frame in own for layer in frame.layers))
    return "".join(parts) + "</svg>"


def _layer(stack: DrawnStack, frame: DrawnStack, index: int, x: int, y: int, widest: int) -> list[str]:
    full = _BAR * frame.layers[index].width / widest
    parts = [
        f'<text x="{x}" y="{y + 20}" fill="{_SOFT}">{index + 1}</text>',
        f'<rect x="{x + 22}" y="{y + 6}" width="{full:.1f}" height="20" rx="3" fill="{_GHOST}"/>',
    ]
    if index >= len(stack.layers):
        return [*parts, f'<text x="{x + 30}" y="{y + 21}" fill="{_SOFT}" font-size="12">left out</text>']
    layer = stack.layers[index]
    width = _BAR * layer.width / widest
    parts.append(f'<rect x="{x + 22}" y="{y + 6}" width="{width:.1f}" height="20" rx="3" fill="{_FFN}"/>')
    parts.append(f'<text x="{x + 30}" y="{y + 21}" fill="#ffffff" font-size="12">{layer.width}</text>')
    for place in range(min(layer.heads, _BAR // 9)):
        parts.append(f'<rect x="{x + 24 + 9 * place}" y="{y + 29}" width="6" height="6" rx="1" fill="{_ATTENTION}"/>')
    words = f'fill="{_SOFT}" font-size="12">{layer.words}</text>'
    parts.append(f'<text x="{x + 22 + full + 10:.1f}" y="{y + 21}" {words}')
    return parts


def _key(y: int, states: bool) -> list[str]:
    last = "&quot;last n&quot;: attends the last n encoder layers" if states else ""
    return [
        f'<rect x="20" y="{y - 11}" width="14" height="12" rx="2" fill="{_FFN}"/>',
        f'<text x="40" y="{y}" fill="{_SOFT}" font-size="12">feed-forward width</text>',
        f'<rect x="170" y="{y - 8}" width="7" height="7" rx="1" fill="{_ATTENTION}"/>',
        f'<text x="184" y="{y}" fill="{_SOFT}" font-size="12">self-attention head</text>',
        f'<rect x="320" y="{y - 11}" width="14" height="12" rx="2" fill="{_GHOST}"/>',
        f'<text x="340" y="{y}" fill="{_SOFT}" font-size="12">only in the largest architecture</text>',
        f'<text x="540" y="{y}" fill="{_SOFT}" font-size="12">'
        f"{last}</text>",
    ]
