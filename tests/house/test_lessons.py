"""What was learned: the words of a sheet with the numbers of its tables, and what does not fit told."""

import pytest

from experiments.common.errors import ConfigError
from experiments.common.results import write_table
from tools.lessons import lessons, number, told

SHEET = """
lesson:
  says: "It costs {change} against {level}."
  numbers:
    change: {method: a, baseline: b, split: test, metric: cost}
    level: {method: b, split: test, metric: cost}
"""
LESSON = {
    "says": "It costs {change}.",
    "numbers": {"change": {"method": "a", "baseline": "b", "split": "test", "metric": "cost"}},
}


def summary(costs):
    labels = {
        "experiment": "denoising",
        "split": "test",
        "metric": "cost",
        "interval": "t",
        "seeds": 3,
        "unit": "1",
    }
    return [
        {**labels, "method": method, "mean": sum(values) / len(values), "lo": min(values), "hi": max(values)}
        for method, values in costs.items()
    ]


def write(folder, costs):
    """Write the tables of a run in which both methods have these costs."""
    write_table(folder / "metrics.csv", metrics(costs))
    write_table(folder / "summary.csv", summary(costs))


def metrics(costs):
    return [
        {
            **{"experiment": "denoising", "method": method, "seed": seed, "split": split, "step": 0},
            **{"metric": "cost", "value": value, "unit": "1"},
        }
        for method, values in costs.items()
        for seed, value in enumerate(values)
        for split in ("test", "train")
    ]


@pytest.fixture
def results(tmp_path):
    """Return a folder with a run of the companion's size, and sheets of which one has a lesson."""
    folder = tmp_path / "results" / "denoising" / "companion" / "auto"
    write(folder, {"a": (3.0, 4.0, 5.0), "b": (6.0, 8.0, 10.0)})
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "denoising.yaml").write_text(SHEET, "utf-8")
    (tmp_path / "sheets" / "gallery.yaml").write_text("sizes:\n  smoke:\n", "utf-8")
    return tmp_path / "results"


def test_numbers_are_computed_and_stand_in_the_words(results):
    page = lessons(results, results.parent / "sheets")
    assert page.endswith("(`denoising`): It costs -50.0 [-50.0, -50.0] % against 8 [6, 10].")
    assert len(page.splitlines()) == 1


def test_a_run_of_the_paper_s_size_goes_first(results):
    write(results / "denoising" / "paper" / "auto", {"a": (9.0, 9.0), "b": (10.0, 10.0)})
    assert told("denoising", LESSON, results) == "It costs -10.0 [-10.0, -10.0] %."
    assert told("denoising", {**LESSON, "size": "companion"}, results) == "It costs -50.0 [-50.0, -50.0] %."


def test_an_application_without_a_run_says_nothing(results):
    (results / "denoising" / "companion" / "auto" / "summary.csv").unlink()
    assert lessons(results, results.parent / "sheets") == ""


def test_how_many_times_as_long_a_phase_takes_is_a_ratio_seed_by_seed(results):
    run = results / "denoising" / "companion" / "auto"
    times = {("a", "there"): (1.0, 2.0), ("b", "there"): (3.0, 6.0), ("a", "back"): (0.5, 1.0)}
    write_table(
        run / "timings.csv",
        [
            {
                "experiment": "denoising",
                "method": method,
                "seed": seed,
                "phase": phase,
                "value": value,
                "unit": "s",
            }
            for (method, phase), values in times.items()
            for seed, value in enumerate(values)
        ],
    )
    longer = {"table": "timings", "method": "b", "baseline": "a", "metric": "there"}
    assert number(run, longer, "sheet") == "3 [3, 3]"
    share = {"table": "timings", "method": "a", "baseline": "a", "metric": "back", "over": "there"}
    assert number(run, share, "sheet") == "0.5 [0.5, 0.5]"
    with pytest.raises(ConfigError, match="0 rows at"):
        number(run, {**longer, "metric": "nowhere"}, "sheet")


def test_a_row_of_the_table_of_intervals_can_be_told(results):
    run = results / "denoising" / "companion" / "auto"
    rows = [
        {
            **{"experiment": "denoising", "method": "a", "baseline": baseline, "split": "test"},
            **{"metric": "cost", "mean": mean, "lo": mean - 1, "hi": mean + 1, "unit": "1"},
        }
        for baseline, mean in (("", 5.0), ("b", -3.0))
    ]
    write_table(run / "intervals.csv", rows)
    where = {"table": "intervals", "method": "a", "split": "test", "metric": "cost"}
    assert number(run, where, "x") == "5 [4, 6]"
    assert number(run, {**where, "baseline": "b"}, "x") == "-3 [-4, -2]"
    with pytest.raises(ConfigError, match=r"x: 0 rows at .*, expected one"):
        number(run, {**where, "baseline": "c"}, "x")


@pytest.mark.parametrize(
    ("lesson", "message"),
    [
        ({"says": "So."}, r"denoising.yaml, lesson: expected says, numbers and perhaps size, got \['says'\]"),
        ({**LESSON, "says": "It costs {much}."}, r"the words name \['much'\], the numbers are \['change'\]"),
        (
            {**LESSON, "numbers": {"change": {"method": "z", "split": "test", "metric": "cost"}}},
            "0 rows at .*, expected one",
        ),
        ({**LESSON, "numbers": {"change": {"method": "a", "metric": "cost", "seeds": 9}}}, "0 rows"),
        # Of two splits one has to be named.
        (
            {**LESSON, "numbers": {"change": {"method": "a", "baseline": "b", "metric": "cost"}}},
            "6 rows at .* no pairs of seeds",
        ),
    ],
)
def test_words_and_numbers_that_do_not_fit_are_told(results, lesson, message):
    with pytest.raises(ConfigError, match=message):
        told("denoising", lesson, results)
