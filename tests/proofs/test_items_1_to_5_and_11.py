"""Items 1 to 5, 11 and what comes after: checks hold on a few instances, their negatives fail; the figures draw."""

import ast
from pathlib import Path

import pandas as pd
import pytest

import proofs
import proofs.__main__ as program
from figures.proofs import barrier_limit, limiting_jacobians
from proofs import runner
from proofs.argmin_barrier_limit import barrier_order_rows, barrier_rows
from proofs.ledger import CHECKS, ERRATA, Check
from proofs.qp_gradients import gradient_G, gradient_G_misprinted
from proofs.report import comma_separated
from proofs.runner import load
from proofs.theorem1_limiting import selection_rows

load()
ITEMS = (1, 2, 3, 4, 5, 11)
# Checked in files of their own.
OTHERS = range(6, 11)
FOLDER = Path(proofs.__file__).parent


@pytest.mark.parametrize("entry", [c for c in CHECKS if c.item not in OTHERS], ids=lambda c: c.name)
def test_check_holds_and_its_negative_fails(entry: Check):
    verdict = entry.run(instances=2)
    assert verdict.passed, verdict.reason


def test_every_item_is_there():
    assert {c.item for c in CHECKS} >= set(ITEMS)


def test_inverting_the_negative_of_the_misprint_turns_it_red():
    swapped = Check(
        2, "", "", "numeric", gradient_G.tolerance, 3, gradient_G_misprinted, "", gradient_G.errors
    )
    verdict = swapped.run()
    assert not verdict.passed
    assert "exceeds" in verdict.reason
    assert "has to fail" in verdict.reason


@pytest.mark.parametrize(("wrong", "status"), [(1.0, 0), (0.0, 1)], ids=["sound", "negative passes"])
def test_program_exits_with_the_verdict(wrong, status, monkeypatch, capsys):
    entry = Check(
        99, "a = b", "here", "numeric", 1e-9, 2, lambda n: [0.0] * n, "a = −b", lambda n: [wrong] * n
    )
    monkeypatch.setattr(program, "CHECKS", [*CHECKS, entry])
    monkeypatch.setattr(runner, "CHECKS", program.CHECKS)
    assert program.main(["99", "--jobs", "1"]) == status
    assert "of 1 checks pass" in capsys.readouterr().out


def test_program_fails_when_nothing_is_selected():
    assert program.main(["98", "--jobs", "1"]) == 1


def test_names_are_unique():
    names = [c.name for c in CHECKS]
    assert len(names) == len(set(names))


def test_errata_are_verified_by_registered_checks():
    assert all(c in CHECKS for entry in ERRATA for c in entry.checks)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda p: p.name)
def test_no_proof_sees_an_adjoint(path: Path):
    tree = ast.parse(path.read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not [name for name in imported if name.startswith(("layers.qp", "layers.cone"))]


def test_figure_of_the_barrier_is_a_function_of_its_tables(tmp_path: Path):
    tables = {}
    for name, rows in (("curves", barrier_rows()), ("order", barrier_order_rows())):
        (tmp_path / name).write_text(comma_separated(rows))
        tables[name] = pd.read_csv(tmp_path / name)
    figure = barrier_limit.draw(tables)
    assert len(figure.axes) == 3
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_table_of_selections_has_the_midpoint_and_leaves_the_segment():
    table = pd.DataFrame(selection_rows())
    assert ((table["inactive"] + table["active"]) / 2 - table["midpoint"]).abs().max() < 1e-12
    wide = table.pivot(index="scale", columns="entry", values=["inactive", "active", "least_squares"])
    weight = (wide["least_squares"] - wide["inactive"]) / (wide["active"] - wide["inactive"])
    assert (weight["dz1/dq1"] - weight["dz1/dq2"]).abs().max() > 0.1
    diagonal = table[table["entry"] == "dz1/dq1"]
    assert diagonal[["inactive", "active", "midpoint"]].to_numpy().max() < 0 < diagonal["least_squares"].max()
    assert len(limiting_jacobians.draw({"selections": table}).axes) == 2
