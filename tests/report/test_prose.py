"""Docstrings come out as paragraphs, lists and code, and nothing in them becomes an element by itself."""

import pytest

from tools.report.prose import inline, paragraphs


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a `b < c` d", "a <code>b &lt; c</code> d"),
        ("**bold** & plain", "<strong>bold</strong> &amp; plain"),
        ("1.5 -> 0.9, u <= 1", "1.5 → 0.9, u ≤ 1"),
        ("`a -> b`", "<code>a -&gt; b</code>"),
        ("over\nlines", "over lines"),
        ("<script>", "&lt;script&gt;"),
        ("$x^2$", "<math><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>"),
    ],
)
def test_a_line_keeps_its_words_and_gets_its_elements(text, html):
    assert inline(text) == html


def test_blocks_are_paragraphs_lists_and_code():
    text = (
        "First.\n\nTwo:\n\n- `a`: one,\n  still one\n- two\n\n    python -m x    # minutes\n    python -m y"
    )
    assert paragraphs(text) == [
        "<p>First.</p>",
        "<p>Two:</p>",
        "<ul><li><code>a</code>: one, still one</li><li>two</li></ul>",
        "<pre><code>python -m x    # minutes\npython -m y</code></pre>",
    ]


def test_a_list_may_follow_its_sentence_at_once():
    assert paragraphs("Two:\n- a\n- b") == ["<p>Two:</p><ul><li>a</li><li>b</li></ul>"]
