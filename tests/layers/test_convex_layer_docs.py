"""The page on convex programs keeps its word: its code runs, and prints what it says."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "convex_layer.md").read_text("utf-8")


def test_the_code_of_the_page_prints_what_the_page_says():
    names: dict[str, object] = {}
    printed = StringIO()
    with redirect_stdout(printed):
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(code, "docs/convex_layer.md", "exec"), names)
    expected = "".join(re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL))
    assert printed.getvalue() == expected
    assert names["solution"].shape == (10, 2)
