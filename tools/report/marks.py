"""Small pictures inside a line of text, as inline SVG that takes its colours from the page."""

import math

from markupsafe import Markup

Row = dict[str, str]
#: the picture of a claim spans 0 to twice the published value; what lies outside is an arrow at its end
WIDTH, HEIGHT, MIDDLE = 120, 18, 9
#: rows that stand for this and more are cut off by an arrow on a logarithmic axis
LONGEST = 60.0


def claim(row: Row) -> Markup:
    """Return ours over the published value: a dot with its interval, the published value and 10 % around it."""
    target, ours = float(row["published"]), float(row["ours"] or "nan")
    if target == 0 or not math.isfinite(ours):
        return Markup("")
    ends = sorted(float(row[name]) / target for name in ("lo", "hi") if row[name])
    said = f"ours is {ours / target:.3g} times the published value"
    line = _line(ends[0], ends[1]) if len(ends) == 2 else ""
    return _svg(
        f'<rect class="near" x="{_at(0.9)}" y="2" width="{_at(1.1) - _at(0.9):g}" height="14"/>'
        f'<path class="axis" d="M0 {MIDDLE}H{WIDTH}"/><path class="published" d="M{_at(1)} 1V17"/>'
        f"{line}{_dot(ours / target)}",
        said,
    )


def meeting(row: Row) -> Markup:
    """Return the change against a rival with its interval, to its own scale, better to the right."""
    values = [float(row[name]) * (1 if row["good"] == "up" else -1) for name in ("change", "lo", "hi")]
    if row["unit"] == "relative change":
        # A ratio and its inverse are as far from no change.
        values = [math.copysign(math.log1p(abs(v)), v) for v in values]
    reach = max(abs(value) for value in values) or 1.0
    middle, *ends = (1 + 0.92 * value / reach for value in values)
    said = f"{row['outcome']}: better is to the right of the line"
    return _svg(
        f'<path class="axis" d="M0 {MIDDLE}H{WIDTH}"/><path class="published" d="M{_at(1)} 1V17"/>'
        f"{_line(min(ends), max(ends))}{_dot(middle)}",
        said,
    )


def ratio(value: float) -> Markup:
    """Return how many times as long a peer takes, as a bar on a logarithmic axis from 1 to 60."""
    share = math.log(max(1.0, min(value, LONGEST))) / math.log(LONGEST)
    ticks = "".join(
        f'<path class="tick" d="M{WIDTH * math.log(at) / math.log(LONGEST):.4g} 2V16"/>'
        for at in (1, 2, 5, 10, 20, 50)
    )
    bar = f'<rect class="bar" x="0" y="5" width="{WIDTH * share:.4g}" height="8" rx="1"/>'
    return _svg(ticks + bar, f"{value:.3g} times as long as ours")


def verdicts(counted: dict[str, int], most: int) -> Markup:
    """Return how many claims have each verdict as a bar in pieces, of the width that ``most`` claims would have."""
    at, parts = 0.0, ""
    for name, count in counted.items():
        width = WIDTH * count / max(most, 1)
        if count:
            parts += f'<rect class="{slug(name)}" x="{at:.4g}" y="4" width="{max(width - 1, 0.5):.4g}" height="10"/>'
        at += width
    return _svg(parts, ", ".join(f"{count} {name}" for name, count in counted.items() if count) or "none")


def slug(verdict: str) -> str:
    """Return the class of a verdict in the style sheet."""
    return verdict.replace(" ", "-")


def _svg(body: str, said: str) -> Markup:
    return Markup(
        f'<svg class="mark" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{said}">{body}</svg>'
    )


def _at(value: float) -> float:
    """Return where a value of 0 to 2 lies, to a tenth of a pixel, those outside at the ends."""
    return round(WIDTH * min(max(value, 0.0), 2.0) / 2, 1)


def _line(lo: float, hi: float) -> str:
    return f'<path class="interval" d="M{_at(lo)} {MIDDLE}H{_at(hi)}"/>'


def _dot(value: float) -> str:
    if 0 <= value <= 2:
        return f'<circle class="ours" cx="{_at(value)}" cy="{MIDDLE}" r="3.5"/>'
    tip, back = (WIDTH, WIDTH - 7) if value > 2 else (0, 7)
    return f'<path class="ours" d="M{tip} {MIDDLE}L{back} 4V14Z"/>'
