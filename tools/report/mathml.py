r"""TeX to MathML, for the few commands that the report uses: ``$\lambda \ge 0$`` without a script or a network.

A command that is not known here is an error, so that no formula is shown half.
"""

import re
from html import escape

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\S")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
NAMES = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "ell": "ℓ", "partial": "∂", "Pi": "Π", "varrho": "ϱ", "infty": "∞", "top": "⊤", "star": "⋆",
}  # fmt: skip
SIGNS = {
    "le": "≤", "ge": "≥", "succ": "≻", "succeq": "⪰", "in": "∈", "to": "→", "mapsto": "↦", "nabla": "∇",
    "cdot": "·", "times": "×", "perp": "⟂", "lVert": "‖", "rVert": "‖", "lbrace": "{", "rbrace": "}", "sum": "∑",
    "downarrow": "↓", "cup": "∪", "ne": "≠",
}  # fmt: skip
WORDS = ("min", "max", "arg", "diag")
SPACES = {"quad": "1em", ",": "0.17em", ";": "0.28em"}
SIGN = re.compile(r"[-+=<>|()\[\],;:./!*'·{}]")
# Fences of a formula grow with what stands in them only where they are asked to.
FENCES = "()[]|‖{}"


class MathError(ValueError):
    """A piece of TeX that is not known here."""


def mathml(tex: str, display: bool = False) -> str:
    r"""Return ``tex`` as a <math> element, on a line of its own if ``display``.

    Known are letters, numbers, signs, ``^`` and ``_``, ``\frac`` and ``\tfrac``, ``\text{...}``,
    ``\begin{bmatrix}``, ``\begin{aligned}``, and the names in this file.

    Raises
    ------
    MathError
        For anything else, or where a brace does not close.
    """
    tokens = list(TOKEN.finditer(tex))
    reader = _Reader(tex, [token.group() for token in tokens], [token.start() for token in tokens])
    body = reader.row(end=None)
    block = ' display="block"' if display else ""
    return f"<math{block}><mrow>{body}</mrow></math>"


class _Reader:
    """Reads tokens from left to right; each method returns MathML for what it has read."""

    def __init__(self, tex: str, tokens: list[str], starts: list[int]) -> None:
        self.tex, self.tokens, self.starts, self.at = tex, tokens, starts, 0

    def row(self, end: str | None) -> str:
        """Return everything up to the token ``end``, which is taken too."""
        parts: list[str] = []
        while self.at < len(self.tokens) and self.tokens[self.at] != end:
            parts.append(self._scripted())
        if end is not None and self.at == len(self.tokens):
            raise MathError(f"{self.tex}: {end} is missing")
        self.at += end is not None
        return "".join(parts)

    def _scripted(self) -> str:
        base = self._number() or self._atom()
        scripts: dict[str, str] = {}
        while self.at < len(self.tokens) and self.tokens[self.at] in "^_":
            mark, self.at = self.tokens[self.at], self.at + 1
            scripts[mark] = self._atom()
        if base in ("<mo>min</mo>", "<mo>max</mo>") and "_" in scripts:
            return f"<munder>{base}{scripts['_']}</munder>"
        if len(scripts) == 2:
            return f"<msubsup>{base}{scripts['_']}{scripts['^']}</msubsup>"
        tags = {"_": "msub", "^": "msup"}
        return next((f"<{tags[mark]}>{base}{text}</{tags[mark]}>" for mark, text in scripts.items()), base)

    def _number(self) -> str:
        """Return all digits from here on as one number: TeX takes them one by one only in an argument."""
        found = NUMBER.match(self.tex, self.starts[self.at])
        if found is None:
            return ""
        self._skip(found.end())
        return f"<mn>{found.group()}</mn>"

    def _skip(self, end: int) -> None:
        while self.at < len(self.tokens) and self.starts[self.at] < end:
            self.at += 1

    def _atom(self) -> str:
        if self.at == len(self.tokens):
            raise MathError(f"{self.tex}: it ends where something is expected")
        token, start, self.at = self.tokens[self.at], self.starts[self.at], self.at + 1
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>"
        if token.startswith("\\"):
            return self._command(token[1:], start)
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token.isdigit():
            return f"<mn>{token}</mn>"
        if SIGN.fullmatch(token):
            return _sign({"-": "−", "'": "′"}.get(token, token))
        raise MathError(f"{self.tex}: {token!r} is not known")

    def _command(self, name: str, start: int) -> str:
        if name in NAMES:
            return f"<mi>{NAMES[name]}</mi>"
        if name in SIGNS:
            return _sign(SIGNS[name])
        if name in WORDS:
            return f'<mo>{name}</mo><mspace width="0.17em"/>' if name == "arg" else f"<mo>{name}</mo>"
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}"/>'
        if name in ("frac", "tfrac"):
            size = ' displaystyle="false"' if name == "tfrac" else ""
            return f"<mstyle{size}><mfrac>{self._atom()}{self._atom()}</mfrac></mstyle>"
        if name == "text":
            return f"<mtext>{escape(self._braced(start))}</mtext>"
        if name in ("mathbb", "mathcal"):
            letter = re.sub(r"<[^>]*>", "", self._atom())
            return f"<mi>{_styled(name, letter)}</mi>"
        if name == "begin":
            return self._table(self._braced(start))
        raise MathError(f"{self.tex}: \\{name} is not known")

    def _braced(self, start: int) -> str:
        """Return the letters between the next braces as they stand, spaces included."""
        found = re.compile(r"\\[a-z]+\s*\{([^{}]*)\}").match(self.tex, start)
        if found is None:
            raise MathError(f"{self.tex}: {self.tex[start:]} expects a word in braces")
        self._skip(found.end())
        return found.group(1)

    def _table(self, kind: str) -> str:
        if kind not in ("bmatrix", "aligned"):
            raise MathError(f"{self.tex}: there is no environment {kind}")
        rows: list[list[str]] = [[""]]
        while self.at < len(self.tokens) and self.tokens[self.at] != r"\end":
            if self.tokens[self.at] in ("&", r"\\"):
                if self.tokens[self.at] == "&":
                    rows[-1].append("")
                else:
                    rows.append([""])
                self.at += 1
            else:
                rows[-1][-1] += self._scripted()
        if self.at == len(self.tokens):
            raise MathError(f"{self.tex}: \\end{{{kind}}} is missing")
        self.at += 1
        self._braced(self.starts[self.at - 1])
        body = "".join(
            f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in cells)}</mtr>" for cells in rows if cells != [""]
        )
        # The style sheet draws the brackets of a matrix: only a font with a table of mathematics stretches them.
        return f'<mtable class="{kind}">{body}</mtable>'


def _sign(text: str) -> str:
    fixed = ' stretchy="false"' if text in FENCES else ""
    return f"<mo{fixed}>{escape(text)}</mo>"


def _styled(name: str, letter: str) -> str:
    """Return a letter of the doubled or the script alphabet."""
    known = {"mathbb": {"R": "ℝ", "N": "ℕ"}, "mathcal": {"A": "𝒜", "K": "𝒦"}}
    if letter not in known[name]:
        raise MathError(f"\\{name}{{{letter}}} is not known")
    return known[name][letter]
