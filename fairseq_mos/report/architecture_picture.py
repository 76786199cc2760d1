"""An architecture as a picture: layer by layer, beside the largest one of its space."""

from __future__ import annotations

from html import escape

from fairseq_mos.arch import Architecture
from fairseq_mos.families.translation.schema import memory_states

_ROW, _WIDTH, _BAR = 46, 430, 250
# The decoder's words are longer: "8 heads, cross 8, last 3".
_TOTAL = 2 * _WIDTH + 50
_INK, _SOFT, _FFN, _ATTENTION, _GHOST = "#1b1f24", "#57606a", "#0072b2", "#e69f00", "#e6eaee"


def architecture_svg(architecture: Architecture, largest: Architecture | None = None) -> str:
    """Returns a picture of both stacks, the input at the bottom.

    Blue bars are feed-forward widths, orange ticks heads; what the largest architecture has more is pale.

    Args:
        architecture: to be drawn.
        largest: of its search space, as the frame; by default the architecture itself.
    """
    largest = largest or architecture
    rows = max(largest.encoder.layers, largest.decoder.layers)
    height = rows * _ROW + 96
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_TOTAL} {height}" width="{_TOTAL}" '
        f'height="{height}" role="img" font-family="system-ui,sans-serif" font-size="13" fill="{_INK}">',
        f"<title>Layers of architecture {escape(architecture.digest())}</title>",
    ]
    widest = max(*largest.encoder.ffn_dims, *largest.decoder.ffn_dims)
    for column, name in enumerate(("encoder", "decoder")):
        own, frame = getattr(architecture, name), getattr(largest, name)
        x = column * _WIDTH + 20
        parts.append(
            f'<text x="{x}" y="20" font-weight="600">{name}: width {own.embed_dim} of {frame.embed_dim}, '
            f"{own.layers} of {frame.layers} layers</text>"
        )
        for index in range(frame.layers):
            y = height - 56 - (index + 1) * _ROW
            parts += _layer(own, frame, name, index, x, y, widest)
    parts += _key(height - 22)
    return "".join(parts) + "</svg>"


def _layer(own, frame, side: str, index: int, x: int, y: int, widest: int) -> list[str]:
    there = index < own.layers
    full = _BAR * frame.ffn_dims[index] / widest
    parts = [
        f'<text x="{x}" y="{y + 20}" fill="{_SOFT}">{index + 1}</text>',
        f'<rect x="{x + 22}" y="{y + 6}" width="{full:.1f}" height="20" rx="3" fill="{_GHOST}"/>',
    ]
    if not there:
        return [*parts, f'<text x="{x + 30}" y="{y + 21}" fill="{_SOFT}" font-size="12">left out</text>']
    width = _BAR * own.ffn_dims[index] / widest
    parts.append(f'<rect x="{x + 22}" y="{y + 6}" width="{width:.1f}" height="20" rx="3" fill="{_FFN}"/>')
    parts.append(f'<text x="{x + 30}" y="{y + 21}" fill="#ffffff" font-size="12">{own.ffn_dims[index]}</text>')
    words = f"{own.self_attention_heads[index]} heads"
    heads = own.self_attention_heads[index]
    if side == "decoder":
        words += f", cross {own.cross_attention_heads[index]}"
        states = memory_states(own.arbitrary_attention[index])
        words += f", last {states}" if states > 1 else ""
    for place in range(min(heads, _BAR // 9)):
        parts.append(f'<rect x="{x + 24 + 9 * place}" y="{y + 29}" width="6" height="6" rx="1" fill="{_ATTENTION}"/>')
    parts.append(f'<text x="{x + 22 + full + 10:.1f}" y="{y + 21}" fill="{_SOFT}" font-size="12">{words}</text>')
    return parts


def _key(y: int) -> list[str]:
    return [
        f'<rect x="20" y="{y - 11}" width="14" height="12" rx="2" fill="{_FFN}"/>',
        f'<text x="40" y="{y}" fill="{_SOFT}" font-size="12">feed-forward width</text>',
        f'<rect x="170" y="{y - 8}" width="7" height="7" rx="1" fill="{_ATTENTION}"/>',
        f'<text x="184" y="{y}" fill="{_SOFT}" font-size="12">self-attention head</text>',
        f'<rect x="320" y="{y - 11}" width="14" height="12" rx="2" fill="{_GHOST}"/>',
        f'<text x="340" y="{y}" fill="{_SOFT}" font-size="12">only in the largest architecture</text>',
        f'<text x="540" y="{y}" fill="{_SOFT}" font-size="12">'
        "&quot;last n&quot;: attends the last n encoder layers</text>",
    ]
