"""docs/quickstart.ipynb runs, prints what it shows, and takes less than two minutes."""

import json
import re
import subprocess
import sys

import pytest

from tools.notebook import PAGE, differences, executed

NOTEBOOK = json.loads(PAGE.read_text("utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_the_page_prints_what_it_shows_and_draws_where_it_shows_a_picture():
    # In a process of its own: it sets torch's default dtype.
    command = [sys.executable, "-m", "tools.notebook", "--check"]
    done = subprocess.run(command, cwd=PAGE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_cell_prints_and_draws_is_its_output_and_a_change_is_told():
    source = ["import matplotlib.pyplot as plt\n", "plt.plot([1, 2])\n", "print('one')"]
    cells = [{"cell_type": "code", "source": source}, {"cell_type": "markdown", "source": ["two"]}]
    (outputs,) = executed({"cells": cells})
    assert [each["output_type"] for each in outputs] == ["stream", "display_data"]
    assert differences([outputs], [outputs]) == []
    (line,) = differences([[{**outputs[0], "text": ["uno\n"]}, outputs[1]]], [outputs])
    assert line == "cell 1 shows 'uno\\n' and prints 'one\\n'"
    assert len(differences([outputs[:1]], [outputs])) == 1


def test_one_picture_is_shown():
    kinds = [each["output_type"] for cell in CODE for each in cell["outputs"]]
    assert kinds.count("display_data") == 1


def test_the_page_was_run_in_order():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))


def test_links_of_the_page_lead_to_files():
    text = "".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
