"""TeX comes out as well-formed MathML with everything in it, and what is not known is refused."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tools.report.mathml import MathError, mathml


def said(tex: str) -> str:
    """Return the formula with its structure as brackets: no spaces, no attributes."""

    def text(node: ElementTree.Element) -> str:
        inner = (node.text or "") + "".join(text(child) for child in node)
        plain = ("math", "mrow", "mi", "mn", "mo", "mstyle")
        return inner if node.tag in plain else f"{node.tag}({inner})"

    return text(ElementTree.fromstring(mathml(tex)))


@pytest.mark.parametrize(
    ("tex", "structure"),
    [
        (r"z^\star", "msup(z⋆)"),
        (r"x_1^2", "msubsup(x12)"),
        (r"x^2_1", "msubsup(x12)"),
        (r"f_{YY}^{-1}", "msubsup(fYY−1)"),
        (r"\tfrac12z", "mfrac(12)z"),
        (r"\frac{a+b}{12}", "mfrac(a+b12)"),
        ("2.50x", "2.50x"),
        (r"\mathbb R^n", "msup(ℝn)"),
        (r"\arg\min_z f", "argmspace()munder(minz)f"),
        (r"\text{subject to } Gz \le h", "mtext(subject to )Gz≤h"),
        (
            r"\begin{bmatrix} Q & G^\top \\ D(\lambda)G & 0 \end{bmatrix} x",
            "mtable(mtr(mtd(Q)mtd(msup(G⊤)))mtr(mtd(D(λ)G)mtd(0)))x",
        ),
    ],
)
def test_a_formula_keeps_its_structure(tex, structure):
    assert said(tex) == structure


def test_a_number_is_one_number_except_in_an_argument():
    assert mathml("12") == "<math><mrow><mn>12</mn></mrow></math>"
    assert mathml("x^12").endswith("<msup><mi>x</mi><mn>1</mn></msup><mn>2</mn></mrow></math>")


@pytest.mark.parametrize(
    ("tex", "message"),
    [
        (r"\foo", r"\\foo is not known"),
        ("{a", "} is missing"),
        ("a^", "it ends where something is expected"),
        (r"\begin{cases} a \end{cases}", "no environment cases"),
        (r"\begin{bmatrix} a", r"\\end\{bmatrix\} is missing"),
        (r"\mathbb Q", "is not known"),
        (r"\text a", "expects a word in braces"),
        ('"', "is not known"),
    ],
)
def test_what_is_not_known_is_refused(tex, message):
    with pytest.raises(MathError, match=message):
        mathml(tex)


def test_signs_of_html_do_not_end_an_element():
    assert "&lt;" in mathml("a < b")
    assert re.search(r"<mtext>a &amp; b</mtext>", mathml(r"\text{a & b}"))
