"""The ledger of proofs comes back as it was written, and a damaged one is named with its line."""

import re

import pytest

from experiments.common.errors import ConfigError
from tools.report.ledger import LEDGER, read_ledger

TEXT = LEDGER.read_text("utf-8")


def test_every_check_and_every_erratum_is_read():
    items = read_ledger()
    passed, total = re.search(r"\*\*(\d+) of (\d+) checks pass", TEXT).groups()
    assert sum(item.passed for item in items.values()) == int(passed)
    assert sum(len(item.checks) for item in items.values()) == int(total)
    errata = sum(len(item.errata) for item in items.values())
    assert f"\n{errata} errata of the printed literature" in TEXT


def test_a_bar_in_a_cell_is_no_border():
    statements = [check["statement"] for item in read_ledger().values() for check in item.checks]
    assert any("|order − 1|" in statement for statement in statements)


def test_a_failed_check_does_not_pass(tmp_path):
    path = tmp_path / "LEDGER.md"
    path.write_text(TEXT.replace("| 1e+00 | yes |", "| 1e+00 | **no**: error too large |", 1), "utf-8")
    item = read_ledger(path)[1]
    assert item.passed == len(item.checks) - 1
    assert "error too large" in next(check["pass"] for check in item.checks if check["pass"] != "yes")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("| yes |\n", "|\n", 1), r"LEDGER\.md cannot be read at line \d+"),
        (lambda text: text.replace(" Correct: ", " Korrekt: ", 1), r"LEDGER\.md cannot be read at line \d+"),
        (lambda text: text[: text.index("## 3.") + 30], "section without checks"),
        (lambda text: "", "section without checks"),
    ],
)
def test_a_damaged_ledger_is_named(tmp_path, damage, message):
    path = tmp_path / "LEDGER.md"
    path.write_text(damage(TEXT), "utf-8")
    with pytest.raises(ConfigError, match=message):
        read_ledger(path)


def test_a_missing_ledger_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"LEDGER\.md is missing; `make proofs`"):
        read_ledger(tmp_path / "LEDGER.md")
