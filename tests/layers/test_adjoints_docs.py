"""docs/adjoints.md tells of every adjoint, with the settings that it has."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest

from layers.qp.adjoints import ADJOINTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adjoints.md").read_text("utf-8")
ON_THE_PAGE = re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE)


def test_the_table_and_the_sections_are_of_all_adjoints_in_one_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    sections = re.findall(r"^## `(\w+)`$", PAGE, re.MULTILINE)
    assert rows == sections
    assert set(rows) <= set(ADJOINTS)


@pytest.mark.parametrize("name", ADJOINTS)
def test_the_page_or_its_own_file_tells_of_an_adjoint(name: str) -> None:
    if f"## `{name}`\n" in PAGE:
        return
    told = inspect.getdoc(sys.modules[type(ADJOINTS[name]).__module__]) or ""
    assert [word for word in ("(1)", "*Exact*", "*At a kink*", "*Cost*") if word not in told] == []


@pytest.mark.parametrize("name", ON_THE_PAGE)
def test_settings_and_defaults_are_those_of_the_code(name: str) -> None:
    row = re.search(rf"^\| `{name}` \| (.*?) \|", PAGE, re.MULTILINE)
    assert row is not None
    own = [f"`{key}={value!r}`" for key, value in ADJOINTS[name].settings.items()]
    assert row[1] == (", ".join(own) or "none")


@pytest.mark.parametrize("name", ON_THE_PAGE)
def test_every_section_has_one_equation(name: str) -> None:
    section = PAGE.split(f"## `{name}`\n")[1].split("\n## ")[0]
    assert section.count("$$") == 2


@pytest.mark.parametrize("name", ON_THE_PAGE)
def test_every_section_has_one_figure(name: str) -> None:
    section = PAGE.split(f"## `{name}`\n")[1].split("\n## ")[0]
    assert re.findall(r"!\[.*?\]\((.*?)\)", section) == [f"../figures/adjoints/{name}.png"]
    assert (ROOT / "figures" / "adjoints" / f"{name}.png").exists()
