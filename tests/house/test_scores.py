"""The tables of README.md and docs/results.md say what the comparison says, in numbers that can be read."""

import re

import pytest

from experiments.common.verdicts import VERDICTS, claims, counts
from tools.results_page import missed, rules
from tools.scores import applications, behind, interval, losses, met, rows_of, scoreboard, title


def claim(**changes: str) -> dict[str, str]:
    row = {
        **{
            "experiment": "sudoku",
            "id": "c",
            "claim": "wrong boards",
            "printed": "0.00053",
            "published": "0.00053",
        },
        **{"ours": "0.00061239", "lo": "0.0005", "hi": "0.0007", "unit": "as in the paper", "size": "paper"},
        **{"layer": "auto", "seeds": "3", "verdict": "reproduced", "post_hoc": "", "reason": "", "note": "n"},
    }
    return {**row, **changes}


def meeting(**changes: str) -> dict[str, str]:
    row = {
        **{"experiment": "markowitz", "method": "tuned", "rival": "gamma_search", "split": "test"},
        **{"metric": "final_cost", "change": "0.1", "lo": "0.05", "hi": "0.15", "unit": "relative change"},
        **{"good": "down", "seeds": "5", "outcome": "loses"},
    }
    return {**row, **changes}


@pytest.mark.parametrize(
    ("values", "relative", "shown"),
    [
        (("0.00061239", "0.0005", "0.0007"), False, "0.000612 [0.0005, 0.0007]"),
        (("-0.0992", "-0.1057", "-0.0937"), True, "-9.9 [-10.6, -9.4] %"),
        (("999", "9", "99999"), True, "× 1e+03 [10, 1e+05]"),
        (("-0.5", "-0.99", "0.2"), True, "× 0.5 [0.01, 1.2]"),
        (("-0.97", "-4.3", "2.4"), True, "-97.0 [-430.0, +240.0] %"),
        (("12.5", "", ""), False, "12.5"),
    ],
)
def test_small_numbers_keep_their_digits_and_large_changes_are_factors(values, relative, shown):
    row = dict(zip(("ours", "lo", "hi"), values, strict=True))
    assert interval(row, "ours", relative) == shown


def test_the_scoreboard_counts_each_distinct_claim_once():
    rows = rows_of("comparison")
    lines = [line for line in scoreboard(rows).splitlines() if "experiments/" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    # name, application, claims, a column for each verdict, minutes
    for place, verdict in enumerate(VERDICTS, start=3):
        assert sum(int(row[place] or 0) for row in cells) == counts(rows)[verdict]
    assert sum(int(row[2] or 0) for row in cells) == sum(v != "not comparable" for v in claims(rows).values())
    assert [re.search(r"`(\w+)`", row[0]).group(1) for row in cells] == applications()


def test_an_application_is_named_by_the_first_words_of_its_program():
    assert title("sudoku") == "Sudoku 4x4 learned from examples alone"


def test_what_is_lost_is_listed_and_what_is_won_is_counted():
    rows = [meeting(), meeting(outcome="wins", rival="untuned"), meeting(outcome="open", change="-0.01")]
    page = losses(rows)
    assert "3 meetings" in page
    assert "1 won, 1 lost, 1 open" in page
    assert page.count("`markowitz`") == 1
    assert "behind risk aversion searched (+10.0 %)" in page


def test_of_several_losses_to_one_rival_the_worst_is_told_and_rivals_share_a_line():
    rows = [meeting(change="0.1"), meeting(change="0.3"), meeting(change="0.2", rival="untuned")]
    page = losses(rows)
    assert "(+30.0 %), untuned (+20.0 %)" in page
    assert "+10.0" not in page
    assert page.count("- `") == 1


def test_worse_in_the_mean_follows_the_good_direction():
    worse = behind([meeting(outcome="open"), meeting(outcome="open", rival="untuned", good="up")])
    assert worse == "Worse in the mean, but open: `markowitz` behind risk aversion searched."
    assert "| - |" not in met([meeting()])


def test_a_miss_stands_with_its_cause_or_with_what_is_known():
    assert missed([claim(), claim(verdict="not comparable")]) == ""
    assert "0.00053" in missed([claim(verdict="not reproduced")])
    assert missed([claim(verdict="not reproduced")]).endswith("but is of fewer than 5 seeds.")
    assert missed([claim(verdict="trend", lo="0.0006")]).endswith("cause unknown.")
    assert missed([claim(verdict="better", reason="another start")]).endswith("another start.")


def test_every_verdict_has_its_rule_on_the_page():
    assert re.findall(r"^- \*\*(.*)\*\*", rules(), re.MULTILINE) == list(VERDICTS)
