"""What is drawn in a line stands where the numbers say."""

import re

import pytest

from tools.report import marks


def row(**changed: str) -> dict[str, str]:
    given = {"published": "2", "ours": "2", "lo": "", "hi": ""}
    return {**given, **changed}


def test_a_dot_in_the_middle_is_the_published_value():
    assert f'cx="{marks.WIDTH / 2}"' in marks.claim(row())
    assert f'cx="{marks.WIDTH * 0.75}"' in marks.claim(row(ours="3"))
    assert f'cx="{marks.WIDTH * 0.75}"' in marks.claim(row(published="-2", ours="-3"))


def test_what_lies_outside_is_an_arrow_at_its_end():
    assert "circle" not in marks.claim(row(ours="5"))
    assert f"M{marks.WIDTH} 9" in marks.claim(row(ours="5"))
    assert "M0 9L7" in marks.claim(row(ours="-1"))


def test_an_interval_is_a_line_between_its_ends():
    found = re.search(r'interval" d="M([\d.]+) 9H([\d.]+)', marks.claim(row(lo="1", hi="3")))
    assert [float(end) for end in found.groups()] == [marks.WIDTH / 4, marks.WIDTH * 3 / 4]
    assert "interval" not in marks.claim(row())


@pytest.mark.parametrize(("good", "side"), [("up", 1), ("down", -1)])
def test_better_is_to_the_right(good: str, side: int):
    change = {"change": "0.5", "lo": "0.25", "hi": "1", "good": good, "unit": "difference", "outcome": "wins"}
    middle = float(re.search(r'cx="([\d.]+)"', marks.meeting(change)).group(1))
    assert (middle - marks.WIDTH / 2) * side == pytest.approx(0.92 * 0.5 * marks.WIDTH / 2, abs=0.1)


def test_a_bar_of_verdicts_is_shared_out_by_their_numbers():
    found = marks.verdicts({"matches": 3, "not reproduced": 1, "trend": 0}, most=8)
    at = [float(x) for x in re.findall(r' x="([\d.]+)"', found)]
    assert at == [0, marks.WIDTH * 3 / 8]
    assert 'class="not-reproduced"' in found
    assert "trend" not in found


def test_a_ratio_is_a_bar_on_a_logarithmic_axis():
    def width(value: float) -> float:
        return float(re.search(r'class="bar".* width="([\d.]+)"', marks.ratio(value)).group(1))

    assert width(1) == 0
    assert width(100) == marks.WIDTH
    assert width(9) == pytest.approx(2 * width(3), rel=1e-3)
