"""The verdict of a row, by rule: two-sided, one rule for every row, no tolerance of its own.

=================  ==================================================================================================
matches            published random numbers rebuilt, and all printed digits agree
reproduced         published settings, and ours lies within 10 % (a factor of 1.5 where the quantity spans decades),
                   or our interval over at least five seeds holds the published value
better             neither of these, ours lies on the good side, and our interval leaves the published value out
trend              of changes: neither of these, but our interval has the published sign
not reproduced     none of these
not comparable     other data, model, length or size than the published ones, another kind of number, or no tracked run
                   that has it: never counted
=================  ==================================================================================================
"""

import math
from collections.abc import Iterable
from typing import Any

from experiments.common.claims import Claim
from experiments.common.stats import Interval

MATCHES, REPRODUCED, BETTER, TREND = "matches", "reproduced", "better", "trend"
NOT_REPRODUCED, NOT_COMPARABLE = "not reproduced", "not comparable"
#: From worst to best; a claim of several numbers is as good as the worst of them.
COUNTED = (NOT_REPRODUCED, TREND, BETTER, REPRODUCED, MATCHES)
VERDICTS = (*reversed(COUNTED), NOT_COMPARABLE)
NEAR, FACTOR, SEEDS = 0.1, 1.5, 5


def verdict(claim: Claim, ours: Interval, seeds: int, size: str) -> str:
    """The verdict of our number beside `claim`, from a run of `size` over so many `seeds`."""
    if claim.not_comparable or size not in claim.sizes:
        return NOT_COMPARABLE
    target, inside = claim.target, ours.lo <= claim.target <= ours.hi
    # Half a unit in the last place, and what binary numbers add to it.
    if claim.rebuilt and abs(ours.mean - target) <= claim.rounding * (1 + 1e-9):
        return MATCHES
    if _near(claim, ours.mean, target) or (seeds >= SEEDS and inside):
        return REPRODUCED
    known = not math.isnan(ours.lo)
    if known and not inside and claim.good == ("up" if ours.mean > target else "down"):
        return BETTER
    same_sign = ours.lo > 0 if target > 0 else ours.hi < 0
    return TREND if claim.change and known and same_sign else NOT_REPRODUCED


def _near(claim: Claim, ours: float, target: float) -> bool:
    if not claim.decades:
        return abs(ours - target) <= NEAR * abs(target)
    # A change over decades is compared as a ratio.
    ours, target = (ours + 1, target + 1) if claim.change else (ours, target)
    return ours / target > 0 and abs(math.log(ours / target)) <= math.log(FACTOR)


def claims(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """The verdict of each distinct claim, by (experiment, id).

    Of its rows that can be compared those of the paper's size decide, else those of the companion's, with our own
    layer; the worst of them is the verdict. A claim without such a row is not comparable.
    """
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        sizes = found.setdefault((row["experiment"], row["id"]), {})
        if row["verdict"] != NOT_COMPARABLE and row["layer"] == "auto":
            sizes.setdefault(row["size"], []).append(row["verdict"])
    return {
        key: min(sizes.get("paper") or [v for size in sizes.values() for v in size], key=COUNTED.index)
        if sizes
        else NOT_COMPARABLE
        for key, sizes in found.items()
    }


def counts(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many distinct claims have each verdict, best first."""
    found = list(claims(rows).values())
    return {name: found.count(name) for name in VERDICTS}


def sentence(rows: Iterable[dict[str, Any]]) -> str:
    """The counts in one line."""
    found = counts(rows)
    total = sum(found.values()) - found[NOT_COMPARABLE]
    said = ", ".join(f"{found[name]} {name}" for name in VERDICTS[:-1])
    rest = f"{found[NOT_COMPARABLE]} more are not comparable, and not counted"
    return f"{total} distinct published claims: {said}; {rest}"
