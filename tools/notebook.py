"""Run docs/quickstart.ipynb and write what it prints and draws into it: ``python -m tools.notebook``.

With ``--check`` nothing is written, and what differs is told. Nothing of Jupyter is needed: cells of code are executed
in order, in one namespace.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quickstart.ipynb"


def executed(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the outputs of each cell of code: its printed text, then a picture for each figure that it left open."""
    mpl.use("Agg")
    from matplotlib import pyplot

    pyplot.close("all")  # those of others are no output of the page
    namespace: dict[str, Any] = {"__name__": "__main__"}
    outputs: list[list[dict[str, Any]]] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("".join(cell["source"]), PAGE.name, "exec"), namespace)
            outputs.append([*_text(printed.getvalue()), *_pictures()])
    return outputs


def printed(outputs: list[dict[str, Any]]) -> str:
    """Return the text among the outputs of a cell."""
    return "".join(line for each in outputs if each["output_type"] == "stream" for line in each["text"])


def differences(kept: list[list[dict[str, Any]]], found: list[list[dict[str, Any]]]) -> list[str]:
    """Return a line for each cell that prints, or draws, something else than it shows; pixels are not compared."""
    lines: list[str] = []
    for number, (old, new) in enumerate(zip(kept, found, strict=True), 1):
        if printed(old) != printed(new):
            lines.append(f"cell {number} shows {printed(old)!r} and prints {printed(new)!r}")
        if [each["output_type"] for each in old] != [each["output_type"] for each in new]:
            lines.append(f"cell {number} shows other kinds of output than it has")
    return lines


def _text(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}]


def _pictures() -> list[dict[str, Any]]:
    from matplotlib import pyplot

    pictures: list[dict[str, Any]] = []
    for number in pyplot.get_fignums():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, dpi=80, metadata={"Software": None})
        data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ["<Figure>"]}
        pictures.append({"data": data, "metadata": {}, "output_type": "display_data"})
    pyplot.close("all")
    return pictures


def main() -> None:
    """Execute the page and write it back, or compare it."""
    notebook = json.loads(PAGE.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = executed(notebook)
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(differences([cell["outputs"] for cell in cells], outputs)) or 0)
    for number, (cell, found) in enumerate(zip(cells, outputs, strict=True), 1):
        cell["execution_count"], cell["outputs"] = number, found
    PAGE.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
