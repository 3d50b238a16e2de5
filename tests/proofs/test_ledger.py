"""The ledger: it turns red where it has to, and prints what it knows."""

import math
from pathlib import Path

import pytest

from proofs import ledger
from proofs.ledger import Check, Erratum, LedgerError, Verdict, check, erratum
from proofs.report import bound_above, bound_below, comma_separated, markdown, tally, terminal


@pytest.fixture(autouse=True)
def private_registers(monkeypatch):
    """Registers of their own, so that these tests leave none of their checks behind."""
    for name in ("CHECKS", "ERRATA", "TABLES"):
        monkeypatch.setattr(ledger, name, [])


def register(errors, wrong=None, tolerance=1e-6) -> Check:
    entry = check(item=1, statement="a = b", source="here", strength="numeric", tolerance=tolerance)(errors)
    if wrong is not None:
        entry.negative("a = −b")(wrong)
    return entry


def constant(value):
    def errors(instances):
        return (value for _ in range(instances))

    return errors


def test_check_passes_when_it_holds_and_its_negative_fails():
    verdict = register(constant(1e-9), constant(1.0)).run()
    assert verdict.passed
    assert (verdict.instances, verdict.error, verdict.negative_error) == (20, 1e-9, 1.0)


def test_inverted_negative_turns_the_ledger_red():
    verdict = register(constant(1e-9), constant(1e-9)).run()
    assert not verdict.passed
    assert "has to fail" in verdict.reason


def test_error_above_the_tolerance_fails():
    verdict = register(constant(1e-5), constant(1.0)).run()
    assert not verdict.passed
    assert "exceeds" in verdict.reason


def test_one_bad_instance_is_enough():
    verdict = register(lambda n: [0.0] * (n - 1) + [1.0], constant(1.0)).run()
    assert not verdict.passed


def test_missing_negative_fails():
    assert "no negative" in register(constant(0.0)).run().reason


def test_no_instance_fails():
    assert "no instance" in register(constant(0.0), constant(1.0)).run(instances=0).reason


@pytest.mark.parametrize("place", [0, 1])
def test_nan_fails_on_either_side(place):
    pair = [constant(0.0), constant(1.0)]
    pair[place] = constant(math.nan)
    verdict = register(*pair).run()
    assert not verdict.passed
    assert "not a number" in verdict.reason


def test_exception_is_a_failure_with_its_message_and_not_a_negative_that_fails():
    def broken(instances):
        raise ZeroDivisionError("singular")

    assert "singular" in register(broken, constant(1.0)).run().reason
    assert not register(constant(0.0), broken).run().passed


def test_second_negative_is_refused():
    with pytest.raises(LedgerError, match="already"):
        register(constant(0.0), constant(1.0)).negative("another")(constant(2.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": "likely"}, "strength"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"instances": 0}, "instances"),
    ],
)
def test_bad_registration_is_refused(change, message):
    arguments = {"item": 1, "statement": "", "source": "", "strength": "numeric", "tolerance": 0.0}
    with pytest.raises(LedgerError, match=message):
        check(**(arguments | change))


def test_erratum_needs_a_check():
    with pytest.raises(LedgerError, match="verified"):
        erratum(item=1, where="a page", printed="a", correct="b", checks=())


def entries(passed: bool) -> list[tuple[Check, Verdict]]:
    entry = register(constant(0.0), constant(1.0))
    verdict = Verdict(20, 3e-10, 0.4, passed, "" if passed else "error 1 exceeds the tolerance 0", 1.0)
    return [(entry, verdict)]


def test_markdown_tells_a_pass(tmp_path: Path):
    (tmp_path / "01-a-page.md").write_text("")
    rows = entries(True)
    text = markdown(rows, [Erratum(1, "a | page", "a", "b", (rows[0][0],))], tmp_path)
    assert (
        text.splitlines()[2]
        == "**1 of 1 checks pass (0 symbolic, 1 numeric, 0 certified) over 20 instances.**"
    )
    assert "| a = b | here | numeric | 20 | 1e-09 | 1e-06 | a = −b | 1e-01 | yes |" in text
    assert "docs/proofs/01-a-page.md" in text
    assert "Here verified by" in text


def test_markdown_tells_a_failure(tmp_path: Path):
    rows = entries(False)
    text = markdown(rows, [Erratum(1, "a page", "a", "b", (rows[0][0],))], tmp_path)
    assert text.splitlines()[2].startswith("**0 of 1 checks pass")
    assert "**no**: error 1" in text
    assert "**not verified** by" in text


def test_bar_in_a_statement_does_not_end_its_cell(tmp_path: Path):
    entry = check(item=1, statement="|x|", source="here", strength="numeric", tolerance=0)(constant(0.0))
    entry.negative("y")(constant(1.0))
    assert r"| \|x\| |" in markdown([(entry, entry.run())], [], tmp_path)


def test_terminal_shows_every_check():
    assert terminal(entries(True)).row_count == 1
    assert "1 of 1" in tally(entries(True))


def test_bounds_round_outwards():
    assert (bound_above(3e-10), bound_below(3e-10)) == ("1e-09", "1e-10")
    assert (bound_above(1.0), bound_below(0.0), bound_above(math.inf)) == ("1e+00", "0", "inf")


def test_table_keeps_columns_and_rounds_floats():
    assert comma_separated([{"t": 1, "x": 1 / 3}, {"t": 2, "x": 0.5}]) == "t,x\n1,0.33333333\n2,0.5\n"
