"""What was published, as facts, read and checked: the sections `published` of the sheets in configs/experiment.

No rule and no tolerance stands there. In the words of the sheets [tex] is the text of the paper, [fig] is read off a
figure, [nb] the output of a notebook, [code] of a program, [2nd] second-hand. `defaults` hold for all rows of an
experiment that do not say otherwise. Split `timings` holds the phases of the table of timings.
"""

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from experiments.common.errors import ConfigError

GOOD = ("up", "down", "none")
DEFAULTS = {"settings", "paper", "defaults", "claims"}


@dataclass(frozen=True)
class Claim:
    """One printed number, or the ratio of two, and what of ours is set beside it.

    Attributes
    ----------
    id : str
        What the publication claims; rows of one id are numbers of one claim, which counts once.
    claim : str
        The row in words.
    value : tuple of str
        The number with the digits that are printed, or [numerator, denominator] of a change, which is computed, paired
        over seeds.
    where : dict
        Of our tables: method, split, metric, and step, seed, baseline where they are needed; with `over` that metric of
        the baseline.
    sizes : tuple of str
        Sizes of run that have the published settings.
    rebuilt : bool
        Whether our run has the published random numbers, or there are none.
    decades : bool
        Whether the quantity spans decades.
    mean : bool
        Whether the published number is the mean of several trials, so that ours is too.
    good : str
        Which direction is good: `up`, `down` or `none`.
    trials : str or int
        Of how many trials a share is: the place of a setting, or a number; 0 where it is no share.
    not_comparable : str
        Why the row never counts; empty where it does.
    post_hoc : bool
        Whether the row was chosen after our result was known.
    cause, shown_by : str
        Why ours misses, and the command of the tracked run that shows it: what no run shows is not said.
    """

    id: str
    claim: str
    value: tuple[str, ...]
    where: dict[str, Any]
    sizes: tuple[str, ...] = ()
    rebuilt: bool = False
    decades: bool = False
    mean: bool = False
    good: str = "none"
    trials: str | int = 0
    not_comparable: str = ""
    post_hoc: bool = False
    cause: str = ""
    shown_by: str = ""

    @property
    def change(self) -> bool:
        """Whether the row is about the change between two numbers."""
        return len(self.value) == 2

    @property
    def target(self) -> float:
        """The published number; of a change the relative one."""
        numbers = [float(value) for value in self.value]
        return numbers[0] / numbers[1] - 1 if self.change else numbers[0]

    @property
    def rounding(self) -> float:
        """Half a unit of the last digit printed; of a change not a number."""
        if self.change:
            return float("nan")
        exponent = Decimal(self.value[0]).as_tuple().exponent
        assert isinstance(exponent, int)
        return 0.5 * 10.0**exponent


@dataclass(frozen=True)
class Source:
    """A publication: where it is, how our sizes of run differ from it, and its claims."""

    paper: str
    settings: dict[str, str]
    claims: tuple[Claim, ...]


def source(place: str, given: dict[str, Any]) -> Source:
    """The publication that `given` describes, which stands at `place`.

    Raises
    ------
    ConfigError
        For an unknown or missing fact, a value that is not written as printed, or a cause that a row without need has.
    """
    if not set(given) <= DEFAULTS or not {"settings", "paper", "claims"} <= set(given):
        raise ConfigError(f"{place}: expected {sorted(DEFAULTS)}, got {sorted(given)}")
    common = given.get("defaults", {})
    return Source(
        given["paper"],
        given["settings"],
        tuple(_claim(place, {**common, **row}) for row in given["claims"]),
    )


def _claim(place: str, row: dict[str, Any]) -> Claim:
    place = f"{place}, {row.get('claim', row)}"
    unknown = set(row) - {field.name for field in fields(Claim)}
    if unknown:
        raise ConfigError(f"{place}: no facts {sorted(unknown)}; facts are {[f.name for f in fields(Claim)]}")
    values = row["value"] if isinstance(row["value"], list) else [row["value"]]
    try:
        printed = {"value": tuple(_printed(value) for value in values), "sizes": tuple(row.get("sizes", ()))}
        whole: dict[str, Any] = {**row, **printed}
        claim = Claim(**whole)
    except (TypeError, InvalidOperation) as error:
        raise ConfigError(f"{place}: expected id, claim, where and a value as printed, in quotes") from error
    if claim.change != ("baseline" in claim.where) or claim.good not in GOOD:
        raise ConfigError(f"{place}: two values go with a baseline, and good is one of {GOOD}")
    if bool(claim.shown_by) != bool(claim.cause):
        raise ConfigError(f"{place}: a cause goes with the command of the tracked run that shows it")
    return claim


def _printed(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value} is not a string")
    Decimal(value)
    return value
