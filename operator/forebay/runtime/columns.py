"""Tables as plain lines, for terminals and files alike."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "  "


def columns(rows: Sequence[tuple[str, ...]], left: int = 1) -> list[str]:
    """Columns as wide as they must be: the first `left` of them begin at the left, the others, figures, end at the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [GAP.join(_cell(row[index], width, index < left) for index, width in enumerate(widths)).rstrip() for row in rows]


def _cell(text: str, width: int, at_left: bool) -> str:
    return text.ljust(width) if at_left else text.rjust(width)
