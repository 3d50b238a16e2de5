"""Families of ConvexLayer whose answers are formulas: balls, and exponential, power and semidefinite cones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cvxpy as cp
import numpy as np
import torch

from layers import ConvexLayer, DifferentiationError, LayerError, Status
from tests.adversary import formulas
from tests.adversary.doors import NO_DERIVATIVE, RAISED, REFUSED
from tests.adversary.families import Generator
from tests.adversary.judge import (
    EXCEPTION,
    GIVEN_UP,
    LEAK,
    REFUSAL,
    RIGHT,
    WRONG_DERIVATIVE,
    WRONG_POINT,
    WRONG_STATUS,
    Verdict,
)

#: off by more than this, relative to the largest entry, is wrong
POINT, GRADIENT = 1e-6, 1e-5
#: what the terms of a derivative cancel to, below this part of them, is rounding
CANCELLED = 1e-13
#: programs of one family in a block
SIZE = 12
Array = np.ndarray
Parts = tuple[cp.Problem, list[cp.Parameter], cp.Variable]


@dataclass(frozen=True)
class Family:
    """A program of CVXPY, its formula, and values of its parameters."""

    build: Callable[[], Parts]
    formula: formulas.Formula
    draw: Callable[[Generator], list[Array]]
    gp: bool = False


def _unit(rng: Generator, *shape: int) -> Array:
    """Numbers in any of seven units; all of one call in the same."""
    return rng.normal(size=shape) * 10.0 ** int(rng.choice([-8, -4, -2, 0, 0, 2, 4]))


def _ball() -> Parts:
    x, y, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(1, nonneg=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.norm(x) <= r[0]]), [y, r], x


def _cut_ball() -> Parts:
    x, y, r, t = cp.Variable(3), cp.Parameter(3), cp.Parameter(1, nonneg=True), cp.Parameter(1)
    rules = [cp.norm(x) <= r[0], x[0] >= t[0]]
    return cp.Problem(cp.Minimize(cp.sum_squares(x - y)), rules), [y, r, t], x


def _farthest() -> Parts:
    x, c, a, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter(1, nonneg=True)
    return cp.Problem(cp.Maximize(c @ x), [cp.norm(x - a) <= r[0]]), [c, a, r], x


def _cone() -> Parts:
    x, y = cp.Variable(4), cp.Parameter(4)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.SOC(x[0], x[1:])]), [y], x


def _softmax() -> Parts:
    x, y = cp.Variable(4), cp.Parameter(4)
    return cp.Problem(cp.Maximize(y @ x + cp.sum(cp.entr(x))), [cp.sum(x) == 1]), [y], x


def _sigmoid() -> Parts:
    x, y = cp.Variable(3), cp.Parameter(3)
    gain = y @ x + cp.sum(cp.entr(x)) + cp.sum(cp.entr(1 - x))
    return cp.Problem(cp.Maximize(gain)), [y], x


def _logarithm() -> Parts:
    x, a = cp.Variable(2), cp.Parameter(2, pos=True)
    return cp.Problem(cp.Maximize(cp.sum(x)), [cp.exp(x) <= a]), [a], x


def _tangent() -> Parts:
    x, a, b = cp.Variable(1), cp.Parameter(1, pos=True), cp.Parameter(1, pos=True)
    return cp.Problem(cp.Minimize(cp.exp(a[0] * x[0]) - b @ x)), [a, b], x


def _reciprocal() -> Parts:
    x, c = cp.Variable(3), cp.Parameter(3, pos=True)
    return cp.Problem(cp.Maximize(cp.sum(cp.log(x)) - c @ x)), [c], x


def _power() -> Parts:
    x, y = cp.Variable(3), cp.Parameter(3)
    return cp.Problem(cp.Minimize(cp.sum(cp.power(cp.abs(x), 3)) / 3 - y @ x)), [y], x


def _semidefinite() -> Parts:
    x, y = cp.Variable((2, 2), PSD=True), cp.Parameter((2, 2), symmetric=True)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - y))), [y], x


def _inverse() -> Parts:
    x, s = cp.Variable((2, 2), symmetric=True), cp.Parameter((2, 2), PSD=True)
    return cp.Problem(cp.Maximize(cp.log_det(x) - cp.trace(s @ x))), [s], x


def _crate() -> Parts:
    x, v = cp.Variable(3, pos=True), cp.Parameter(1, pos=True)
    cost = 3 * x[0] * x[1] + 2 * x[0] * x[2] + 2 * x[1] * x[2]
    return cp.Problem(cp.Minimize(cost), [x[0] * x[1] * x[2] >= v[0]]), [v], x


def _balance() -> Parts:
    x, a, b = cp.Variable(1, pos=True), cp.Parameter(1, pos=True), cp.Parameter(1, pos=True)
    return cp.Problem(cp.Minimize(x[0] / a[0] + b[0] / x[0])), [a, b], x


def _symmetric(rng: Generator) -> list[Array]:
    M = _unit(rng, 2, 2)
    return [M + M.T]


def _definite(rng: Generator) -> list[Array]:
    M = rng.normal(size=(2, 2))
    return [(M @ M.T + np.eye(2)) * 10.0 ** int(rng.integers(-4, 5))]


def _positive(rng: Generator, count: int, most: int = 4) -> Array:
    return 10.0 ** rng.uniform(-most, most, count)


def _near_ball(rng: Generator) -> list[Array]:
    y = _unit(rng, 3)
    return [y, np.abs(y).max(keepdims=True) * 10.0 ** int(rng.choice([-8, -4, -1, 0, 1]))]


def _near_cut(rng: Generator) -> list[Array]:
    y, r = _near_ball(rng)
    share = rng.choice([1 + 1e-3, 1.5, -0.5, 0.3, 0.9, 1 - 1e-4])
    return [y, r, share * r]


FAMILIES: dict[str, Family] = {
    "ball": Family(_ball, formulas.ball, _near_ball),
    "ball cut by a plane": Family(_cut_ball, formulas.cut_ball, _near_cut),
    "farthest point of a ball": Family(
        _farthest, formulas.farthest, lambda rng: [_unit(rng, 3), _unit(rng, 3), np.abs(_unit(rng, 1))]
    ),
    "second-order cone": Family(_cone, formulas.cone, lambda rng: [_unit(rng, 4)]),
    "softmax": Family(_softmax, formulas.softmax, lambda rng: [rng.normal(size=4) * 10.0 ** rng.integers(-4, 2)]),
    "sigmoid": Family(_sigmoid, formulas.sigmoid, lambda rng: [rng.normal(size=3) * 10.0 ** rng.integers(-4, 1)]),
    "logarithm": Family(_logarithm, formulas.logarithm, lambda rng: [_positive(rng, 2, 13)]),
    "tangent of exp": Family(_tangent, formulas.tangent, lambda rng: [_positive(rng, 1, 1), _positive(rng, 1)]),
    "reciprocal": Family(_reciprocal, formulas.reciprocal, lambda rng: [_positive(rng, 3)]),
    "power cone": Family(_power, formulas.power, lambda rng: [_unit(rng, 3)]),
    "semidefinite cone": Family(_semidefinite, formulas.semidefinite, _symmetric),
    "log det": Family(_inverse, formulas.inverse, _definite),
    "geometric crate": Family(_crate, formulas.crate, lambda rng: [_positive(rng, 1)], gp=True),
    "geometric balance": Family(
        _balance, formulas.balance, lambda rng: [_positive(rng, 1), _positive(rng, 1)], gp=True
    ),
}  # fmt: skip


@cache
def _layer(name: str) -> ConvexLayer:
    problem, parameters, variable = FAMILIES[name].build()
    return ConvexLayer(problem, parameters, [variable], gp=FAMILIES[name].gp, on_failure="ignore")


@dataclass(frozen=True)
class Curved:
    """Values of the parameters, and the weights of the loss ⟨w, x⟩."""

    family: str
    parameters: list[Array]
    weights: Array

    @property
    def right(self) -> Array | None:
        """The solution; None where there is none."""
        return formulas.evaluated(FAMILIES[self.family].formula, self.parameters)


def block(seed: int, number: int) -> list[Curved]:
    """The programs of a block, all of one family."""
    rng = np.random.default_rng([seed, number, 1])
    name = list(FAMILIES)[rng.integers(0, len(FAMILIES))]
    drawn = [FAMILIES[name].draw(rng) for _ in range(SIZE)]
    size = _layer_size(name)
    return [Curved(name, values, rng.integers(1, 6, size) / 2.0) for values in drawn]


@cache
def _layer_size(name: str) -> int:
    return FAMILIES[name].build()[2].size


Found = tuple[str, Array, list[Array], str]


def ask(cases: list[Curved]) -> list[Found]:
    """Status, x, gradients and message of each; an exception is looked for element by element."""
    try:
        return _answers(cases)
    except DifferentiationError as error:
        kind, message = NO_DERIVATIVE, str(error)
    except LayerError as error:
        kind, message = REFUSED, f"{type(error).__name__}: {error}"
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001  any other exception is what is looked for
        kind, message = RAISED, f"{type(error).__name__}: {error}"
    if len(cases) == 1:
        return [(kind, np.zeros(0), [], message)]
    return [answer for case in cases for answer in ask([case])]


def _answers(cases: list[Curved]) -> list[Found]:
    given = [
        torch.from_numpy(np.stack(values)).requires_grad_()
        for values in zip(*(c.parameters for c in cases), strict=True)
    ]
    solution = _layer(cases[0].family).solve(*given)
    x = solution.variables[0]
    weights = torch.from_numpy(np.stack([c.weights for c in cases])).reshape(x.shape)
    gradients = torch.autograd.grad((weights * x).sum(), given)
    return [
        (Status(int(status)).name, x[i].detach().numpy().ravel(), [g[i].numpy() for g in gradients], "")
        for i, status in enumerate(solution.status)
    ]


def judge(case: Curved, answer: Found) -> Verdict:
    """Right within POINT and GRADIENT of the largest entry; a kink of the formula is met with probability zero.

    A derivative is a sum over the entries of x. Where its terms cancel, as those of softmax do for equal weights, the
    numbers that enter bear no more than their rounding: CANCELLED of the magnitudes that add up.
    """
    status, x, gradients, message = answer
    if status in (RAISED, REFUSED):
        return Verdict(EXCEPTION if status == RAISED else REFUSAL, message)
    right = case.right
    proved = "INFEASIBLE" if right is None else "OPTIMAL"
    if status != proved and status in ("OPTIMAL", "INFEASIBLE", "UNBOUNDED"):
        return Verdict(WRONG_STATUS, f"{status}, proved to be {proved}")
    if status != "OPTIMAL":
        if any(g.any() for g in gradients):
            return Verdict(LEAK, f"{status} with a gradient")
        return Verdict(RIGHT if status == proved else GIVEN_UP + status)
    assert right is not None
    off, size = np.abs(x - right).max(), np.abs(right).max()
    size = size or max(np.abs(p).max() for p in case.parameters)
    if not off <= POINT * size:
        return Verdict(WRONG_POINT, f"x is off by {off:.1e} of {size:.1e}", "x")
    exact = formulas.pulled_back(FAMILIES[case.family].formula, case.parameters, case.weights)
    for i, (g, e) in enumerate(zip(gradients, exact, strict=True)):
        off, size = np.abs(g - e).max(), max(np.abs(v).max() for v in exact)
        size = size or 1e-3 * np.abs(case.weights).max()  # all of them zero
        if not off <= GRADIENT * (np.abs(e).max() + 1e-6 * size) and not off <= CANCELLED * _terms(case, i):
            return Verdict(WRONG_DERIVATIVE, f"parameter {i}: {g.tolist()}, right is {e.tolist()}", str(i))
    return Verdict(RIGHT)


def _terms(case: Curved, i: int) -> float:
    """The largest sum of magnitudes behind the gradient of a parameter."""
    formula = FAMILIES[case.family].formula
    return np.abs(formulas.pulled_back(formula, case.parameters, case.weights, sizes=True)[i]).max()
