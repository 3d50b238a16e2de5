"""Advice is checked by following it: programs that break the rules, what the message says to write, and that it runs.

Every piece of advice is taken from the message as code, word for word. Where the program has a solution, though it is
no layer, the advised one has the same optimal value: CVXPY solves the former with the values put in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, ProblemError, Status

x, y, X = cp.Variable(3, name="x"), cp.Variable(name="y"), cp.Variable((2, 2), name="X")
z, t = cp.Variable(pos=True, name="z"), cp.Variable(2, name="t")
p, q, a = cp.Parameter(3, name="p"), cp.Parameter(nonneg=True, name="q"), cp.Parameter(pos=True, name="a")
c, k = cp.Parameter(name="c"), cp.Parameter(nonneg=True, name="k")
F, H, M = cp.Parameter((3, 3), name="F"), cp.Parameter((3, 3), name="H"), cp.Parameter((2, 2), name="M")
P, N = cp.Parameter((3, 3), PSD=True, name="P"), cp.Parameter((3, 3), symmetric=True, name="N")
bowl, box = cp.sum_squares(x - np.array([2.0, -1.0, 0.5])), [x >= -1, x <= 1]


def number(*values: float) -> Tensor:
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=torch.float64)


root = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.5, -0.5], [0.3, 0.0, 1.0]], dtype=torch.float64)
VALUES = {p: number(1.0, 2.0, -0.5), q: number(0.7), a: number(2.0), c: number(-0.4), k: number(1.5), F: root,
          H: root.mT.contiguous(), M: root[:2, :2].contiguous(), P: root @ root.mT, N: root @ root.mT}  # fmt: skip
NAMES = {"cvxpy": cp, "numpy": np, "torch": torch, "PnormApprox": cp.pnorm, "PowerApprox": cp.power,
         **{leaf.name(): leaf for leaf in (x, y, X, z, t, p, q, a, c, F, H, M, P, N)}}  # fmt: skip
TENSORS: dict[str, Any] = {"torch": torch, **{leaf.name(): value for leaf, value in VALUES.items()}}

Program = tuple[Any, Sequence[Any]]
Values = dict[Any, Tensor]


def posed(program: Program) -> cp.Problem:
    """The problem of CVXPY: a minimum, if nothing else is said."""
    objective, constraints = program
    return cp.Problem(
        objective if isinstance(objective, cp.Maximize) else cp.Minimize(objective), constraints
    )


def optimum(program: Program, values: Values, *, gp: bool = False) -> float:
    """The optimal value of the layer of a program, which is solved, and differentiated in all its parameters."""
    problem = posed(program)
    layer = ConvexLayer(problem, list(values), problem.variables(), gp=gp)
    given = [value.clone().requires_grad_() for value in values.values()]
    solution = layer.solve(*given)
    assert solution.status.item() == Status.OPTIMAL
    gradients = torch.autograd.grad(sum(v.sum() for v in solution.variables), given, allow_unused=True)
    assert all(g is None or torch.isfinite(g).all() for g in gradients)
    return solution.objective.item()


def by_cvxpy(program: Program) -> float:
    """The optimal value of a program with the values put in, by CVXPY and Clarabel."""
    problem = posed(program)
    for parameter in problem.parameters():
        parameter.value = VALUES[parameter].numpy()
    try:
        return problem.solve(solver="CLARABEL", ignore_dpp=True)
    finally:
        for parameter in problem.parameters():
            parameter.value = None


class Advice:
    """A message, whose code can be taken from it, as a value."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __call__(self, code: str, **names: Any) -> Any:
        assert code in self.message
        return eval(code, NAMES | names)

    def says(self, words: str) -> None:
        assert words in self.message


def with_parameter(
    declared: str, value: Callable[[], Tensor], program: Callable[[Any], Program], *rest: Any
) -> Any:
    """Advice to put a new parameter r, computed in torch, in the place of something."""

    def follow(take: Advice) -> tuple[Program, Values]:
        r = take(declared)
        return program(r), {r: value(), **{leaf: VALUES[leaf] for leaf in rest}}

    return follow


def with_variable(declared: str, relation: str, program: Callable[[Any], Program], *rest: Any) -> Any:
    """Advice to add a variable w, and a constraint that says what it is."""

    def follow(take: Advice) -> tuple[Program, Values]:
        w = take(declared)
        objective, constraints = program(w)
        return (objective, [*constraints, take(relation, w=w)]), {leaf: VALUES[leaf] for leaf in rest}

    return follow


def divided(take: Advice) -> tuple[Program, Values]:
    r = take("cvxpy.Parameter((), nonneg=True)")
    return (cp.norm(take("(x) * r", r=r)) + bowl, []), {r: take("1 / (q)", **TENSORS)}


def factored(take: Advice) -> tuple[Program, Values]:
    R = take("cvxpy.Parameter((3, 3))")
    return (bowl, [take("cvxpy.sum_squares(R @ x)", R=R) <= 1]), {
        R: take("torch.linalg.cholesky(P).mT", **TENSORS)
    }


def bounded(take: Advice) -> tuple[Program, Values]:
    take.says("Make the bound itself a parameter")
    r = cp.Parameter(nonneg=True)
    return (cp.square(cp.Variable(bounds=[-1, r]) - 3), []), {r: VALUES[c] ** 2}


#: a program that is no layer, and the same after the advice
EQUIVALENT: dict[str, tuple[Program, Callable[[Advice], tuple[Program, Values]]]] = {
    "product of parameters": (
        (bowl + c * q * x[0], []),
        with_parameter("cvxpy.Parameter(())", lambda: VALUES[c] * VALUES[q], lambda r: (bowl + r * x[0], [])),
    ),
    "product of matrices": (
        (cp.sum_squares(F @ H @ x - 1), box),
        with_parameter("cvxpy.Parameter((3, 3))", lambda: root @ root.mT, lambda r: (cp.sum_squares(r @ x - 1), box)),
    ),
    "a parameter times an affine function of another": (
        (cp.sum(q * (F @ x)) + bowl, []),
        with_variable("cvxpy.Variable((3,))", "w == F @ x", lambda w: (cp.sum(q * w) + bowl, []), q, F),
    ),
    "a parameter times a norm with another": (
        (q * cp.norm(F @ x) + bowl, []),
        with_variable("cvxpy.Variable(())", "w >= PnormApprox(F @ x, 2)", lambda w: (q * w + bowl, []), q, F),
    ),
    "weights inside a norm": (
        (cp.norm(q * (F @ x)) + bowl, []),
        with_variable("cvxpy.Variable((3,))", "w == F @ x", lambda w: (cp.norm(q * w) + bowl, []), q, F),
    ),
    "a maximum of products": (
        (cp.maximum(p[0] * x[0], q * k * x[1]) + bowl, []),
        with_parameter("cvxpy.Parameter((), nonneg=True)", lambda: VALUES[q] * VALUES[k],
                       lambda r: (cp.maximum(p[0] * x[0], r * x[1]) + bowl, []), p),
    ),
    "quad_form of a vector with parameters": (
        (cp.quad_form(x - F[0], P), box),
        with_variable("cvxpy.Variable((3,))", "w == x + -(F[0, 0:3])", lambda w: (cp.quad_form(w, P), box), F, P),
    ),
    "quad_form with a parameter in a constraint": ((bowl, [cp.quad_form(x, P) <= 1]), factored),
    "division by a parameter": ((cp.norm(x / q) + bowl, []), divided),
    "a function of a parameter": (
        (bowl, [x * cp.exp(c) <= 1]),
        with_parameter("cvxpy.Parameter((), nonneg=True)", lambda: VALUES[c].exp(), lambda r: (bowl, [x * r <= 1])),
    ),
    "a norm of a parameter as factor": (
        (bowl + cp.norm(p) * x[0], []),
        with_parameter("cvxpy.Parameter((), nonneg=True)", lambda: VALUES[p].norm(), lambda r: (bowl + r * x[0], [])),
    ),
    "a square on the larger side": (
        (bowl, [x <= cp.square(c)]),
        with_parameter("cvxpy.Parameter((), nonneg=True)", lambda: VALUES[c] ** 2, lambda r: (bowl, [x <= r])),
    ),
    "a perspective": (
        (q * cp.perspective(cp.sum_squares(x), z) + bowl, [z <= 3]),
        lambda take: ((q * take("cvxpy.quad_over_lin(x, s)", s=z) + bowl, [z <= 3]), {q: VALUES[q]}),
    ),
}  # fmt: skip


def test_advice_on_a_bound_that_is_no_parameter():
    program = cp.square(cp.Variable(bounds=[-1, cp.square(c)]) - 3), []
    advised, values = bounded(Advice(message_of(program, [c])))
    assert optimum(advised, values) == pytest.approx((VALUES[c].item() ** 2 - 3) ** 2)


def message_of(program: Program, parameters: Sequence[Any], *, gp: bool = False) -> str:
    """What the layer says of a program."""
    problem = posed(program)
    with pytest.raises(ProblemError) as caught:
        ConvexLayer(problem, parameters, problem.variables(), gp=gp)
    return str(caught.value)


@pytest.mark.parametrize("name", EQUIVALENT)
def test_advice_on_what_is_not_dpp_gives_a_layer_with_the_same_optimum(name: str):
    program, follow = EQUIVALENT[name]
    parameters = posed(program).parameters()
    advised, values = follow(Advice(message_of(program, parameters)))
    assert optimum(advised, values) == pytest.approx(by_cvxpy(program), rel=1e-6, abs=1e-6)


indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
samples = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
singular = np.cov(samples.T, dtype=np.float32)
w6, mu = cp.Variable(6, name="w6"), cp.Parameter(6, name="mu")
NAMES |= {"w6": w6, "indefinite": indefinite}


def declared(code: str, program: Callable[[Any], Program], value: Tensor, *rest: Any) -> Any:
    """Advice to declare a parameter, or a variable, otherwise."""

    def follow(take: Advice) -> tuple[Program, Values]:
        leaf = take(code)
        mine = {leaf: value} if isinstance(leaf, cp.Parameter) else {}
        return program(leaf), {**mine, **{other: VALUES[other] for other in rest}}

    return follow


def said(words: str, advised: tuple[Program, Values]) -> Any:
    """Advice in words."""

    def follow(take: Advice) -> tuple[Program, Values]:
        take.says(words)
        return advised

    return follow


#: a program that is not convex, or not known to be, its parameters, whether gp=True, and what is advised
UNKNOWN: dict[str, tuple[Program, list[Any], bool, Callable[[Advice], tuple[Program, Values]]]] = {
    "matrix without a sign": (
        (cp.quad_form(x, N) + cp.sum(x), []), [N], False,
        declared("cvxpy.Parameter((3, 3), PSD=True)", lambda S: (cp.quad_form(x, S) + cp.sum(x), []), VALUES[N]),
    ),
    "factor without a sign": (
        (cp.sum(cp.multiply(p, cp.abs(x - 1))), []), [p], False,
        declared("cvxpy.Parameter((3,), nonneg=True)", lambda r: (cp.sum(cp.multiply(r, cp.abs(x - 1))), []),
                 VALUES[p].abs()),
    ),
    "constant indefinite matrix": (
        (cp.quad_form(t, indefinite) + cp.sum(M @ t), []), [M], False,
        lambda take: ((cp.quad_form(t, take("P + 1.01 * numpy.eye(2)", P=indefinite)) + cp.sum(M @ t), []),
                      {M: VALUES[M]}),
    ),
    "its square": (
        (cp.quad_form(t, indefinite) + cp.sum(M @ t), []), [M], False,
        lambda take: ((cp.quad_form(t, take("P.T @ P", P=indefinite)) + cp.sum(M @ t), []), {M: VALUES[M]}),
    ),
    "constant covariance formed in float32": (
        (cp.quad_form(w6, singular) - mu @ w6, [w6 >= 0, cp.sum(w6) == 1]), [mu], False,
        lambda take: ((take("cvxpy.quad_form(w6, cvxpy.psd_wrap(P))", P=singular) - mu @ w6,
                       [w6 >= 0, cp.sum(w6) == 1]), {mu: torch.arange(6.0).double()}),
    ),
    "parameter as exponent": (
        (-cp.sum(cp.power(x, k)), box), [k], False,
        lambda take: ((-cp.sum(take("cvxpy.power(x, 0.5)")) + p @ x, box), {p: VALUES[p]}),
    ),
    "square written as a product": (
        (x[0] * x[0] + p @ x, box), [p], False,
        lambda take: ((take("cvxpy.square(x)", x=x[0]) + p @ x, box), {p: VALUES[p]}),
    ),
    "ratio of variables": (
        (x[0] / z + p @ x, [*box, z <= 1]), [p], False,
        lambda take: ((take("cvxpy.quad_over_lin(x, y)", x=x[0], y=z) + p @ x, [*box, z <= 1]), {p: VALUES[p]}),
    ),
    "equality that is not affine": (
        (p @ x, [cp.sum_squares(x) == 1]), [p], False,
        said("Write <=", ((p @ x, [cp.sum_squares(x) <= 1]), {p: VALUES[p]})),
    ),
    "concave objective": (
        (cp.sum(cp.sqrt(x)) + p @ x, box), [p], False,
        said("write cvxpy.Maximize", ((cp.Maximize(cp.sum(cp.sqrt(x)) + p @ x), box), {p: VALUES[p]})),
    ),
    "gp=True missing": ((z * z + a / z, []), [a], False, said("pass gp=True", ((z * z + a / z, []), {a: VALUES[a]}))),
    "geometric program with a variable without a sign": (
        (y + a / y, []), [a], True,
        declared("cvxpy.Variable((), pos=True)", lambda u: (u + a / u, []), VALUES[a], a),
    ),
    "geometric program with a parameter without a sign": (
        (z + c / z, []), [c], True,
        declared("cvxpy.Parameter((), pos=True)", lambda b: (z + b / z, []), VALUES[a]),
    ),
    "exponent and base of a geometric program": (
        ((a * z) ** a + 1 / z, []), [a], True,
        with_variable("cvxpy.Variable((), pos=True)", "w == a * z", lambda w: (w**a + 1 / z, []), a),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_advice_on_what_is_not_known_to_be_convex_gives_a_layer(name: str):
    program, parameters, gp, follow = UNKNOWN[name]
    message = message_of(program, parameters, gp=gp)
    advised, values = follow(Advice(message))
    assert np.isfinite(optimum(advised, values, gp=gp or "pass gp=True" in message))
