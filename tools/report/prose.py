"""Plain text of docstrings and of the outline as HTML: paragraphs, lists, code, formulas between dollars."""

import re
from html import escape
from textwrap import dedent

from markupsafe import Markup

from tools.report.mathml import mathml

#: what a docstring types, and a page prints
SIGNS = {"->": "→", "<=": "≤", ">=": "≥"}
PIECE = re.compile(r"(`[^`]+`|\$\$.+?\$\$|\$[^$]+\$|\*\*[^*]+\*\*)", re.DOTALL)


def inline(text: str) -> Markup:
    """Return one line of text: `code`, **bold** and $formulas$ as elements, everything else escaped."""
    return Markup("".join(_piece(piece) for piece in PIECE.split(" ".join(text.split()))))


def paragraphs(text: str) -> list[Markup]:
    """Return the blocks of ``text`` between blank lines: paragraphs, lists whose lines begin with "- ", code."""
    blocks = re.split(r"\n[ ]*\n", text.strip("\n"))
    return [_block(block) for block in blocks if block.strip()]


def _block(block: str) -> Markup:
    if all(line.startswith("    ") for line in block.split("\n") if line.strip()):
        return Markup(f"<pre><code>{escape(dedent(block).strip(), quote=False)}</code></pre>")
    parts = re.split(r"^- ", block, flags=re.MULTILINE)
    said = Markup("<p>{}</p>").format(inline(parts[0])) if parts[0].strip() else Markup("")
    items = Markup("").join(Markup("<li>{}</li>").format(inline(part)) for part in parts[1:])
    return said + (Markup("<ul>{}</ul>").format(items) if items else Markup(""))


def _piece(piece: str) -> str:
    if piece.startswith("`") and piece.endswith("`") and len(piece) > 2:
        return f"<code>{escape(piece[1:-1], quote=False)}</code>"
    if piece.startswith("$$"):
        return mathml(piece[2:-2], display=True)
    if piece.startswith("$") and len(piece) > 2:
        return mathml(piece[1:-1])
    if piece.startswith("**") and len(piece) > 4:
        return f"<strong>{escape(piece[2:-2], quote=False)}</strong>"
    for typed, sign in SIGNS.items():
        piece = piece.replace(typed, sign)
    return escape(piece, quote=False)
