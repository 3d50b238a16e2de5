"""The layer is asked: every way in, whole blocks and small batches, with the gradients of one loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from layers import ConvexLayer, DifferentiationError, LayerError, QPLayer, Status, solve_qp
from tests.adversary.blocks import Case
from tests.adversary.program import NAMES

#: what is said of an element without a status: a name of :class:`layers.Status`, or one of these
NO_POINT, NO_DERIVATIVE, REFUSED, RAISED = "not solved", "DifferentiationError", "refused", "raised"


@dataclass(frozen=True)
class Door:
    """One way to ask.

    Attributes
    ----------
    name : str
        ``"solve_qp"``, ``"QPLayer"``, or ``"ConvexLayer"`` with linear rows.
    solver : str
    size : int
        Programs in a batch; 0 for all at once.
    shared : bool
        Q, G and A are those of the first program, without a batch axis.
    """

    name: str
    solver: str
    size: int = 0
    shared: bool = False

    def __str__(self) -> str:
        batch = f"batches of {self.size or 'all'}{', Q, G, A shared' * self.shared}"
        return f"{self.name}({self.solver!r}), {batch}"


@dataclass(frozen=True)
class Answer:
    """What the layer says of one program.

    Attributes
    ----------
    status : str
        The name of a status, or NO_POINT, REFUSED (a LayerError), RAISED (any other exception).
    z, lam, nu : Array, optional
        None without a point; λ and ν are None where the door does not tell them.
    gradients : tuple of Array, optional
        Of the loss in Q, q, G, h, A, b; None if there are none.
    message : str
        Of the exception.
    summed : int
        So many programs share the gradients of Q, G and A; 0 if each has its own.
    """

    status: str
    z: np.ndarray | None = None
    lam: np.ndarray | None = None
    nu: np.ndarray | None = None
    gradients: tuple[np.ndarray, ...] | None = None
    message: str = ""
    summed: int = 0


def ask(cases: Sequence[Case], door: Door) -> list[Answer]:
    """The answers, one for each program."""
    size = door.size or len(cases)
    return [a for i in range(0, len(cases), size) for a in _ask_together(cases[i : i + size], door)]


def _ask_together(cases: Sequence[Case], door: Door) -> list[Answer]:
    """One batch; if it raises, each element by itself, so that the exception finds its element."""
    try:
        return list(_answers(cases, door))
    except DifferentiationError as error:
        if len(cases) == 1:
            return [Answer(status=NO_DERIVATIVE, message=str(error))]
    except LayerError as error:
        if len(cases) == 1:
            return [Answer(status=REFUSED, message=f"{type(error).__name__}: {error}")]
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001  any other exception is what is looked for
        if len(cases) == 1:
            return [Answer(status=RAISED, message=f"{type(error).__name__}: {error}")]
    return [a for c in cases for a in _ask_together([c], door)]


def stacked(cases: Sequence[Case]) -> list[Tensor]:
    """The data of a batch."""
    return [torch.from_numpy(np.stack([getattr(c.program, name) for c in cases])) for name in NAMES]


def _answers(cases: Sequence[Case], door: Door) -> Iterator[Answer]:
    data = stacked(cases)
    if door.shared:
        data = [t[0] if t.dim() == 3 else t for t in data]
    data = [t.requires_grad_() for t in data]
    weights = [torch.from_numpy(np.stack([c.weights[i] for c in cases])) for i in range(3)]
    if door.name != "solve_qp":
        z = _minimiser(data, door)
        statuses = [NO_POINT if bad else "OPTIMAL" for bad in z.isnan().any(-1).tolist()]
        lam = nu = None
        loss = (weights[0] * z.nan_to_num()).sum()
    else:
        solution = solve_qp(*data, solver=door.solver, on_failure="ignore")
        z, lam, nu = solution.z, solution.lam, solution.nu
        statuses = [Status(v).name for v in solution.status.tolist()]
        loss = sum((w * v).sum() for w, v in zip(weights, (z, lam, nu), strict=True))
    gradients = torch.autograd.grad(loss, data, allow_unused=True, materialize_grads=True)
    for i, status in enumerate(statuses):
        own = tuple(
            (g if door.shared and name in "QGA" else g[i]).numpy()
            for g, name in zip(gradients, NAMES, strict=True)
        )
        yield Answer(status, _row(z, i), _row(lam, i), _row(nu, i), own, summed=len(cases) * door.shared)


def _minimiser(data: list[Tensor], door: Door) -> Tensor:
    if door.name == "QPLayer":
        return QPLayer(door.solver, on_failure="nan")(*data)
    Q, q, G, h, A, b = data
    sizes = q.shape[-1], h.shape[-1], b.shape[-1]
    values = [Q, q, *([G, h] if sizes[1] else []), *([A, b] if sizes[2] else [])]
    return convex_layer(*sizes)(*values)[0]


@cache
def convex_layer(n: int, m: int, p: int) -> ConvexLayer:
    """The quadratic program of these sizes through CVXPY, all of its data parameters."""
    z, Q, q = cp.Variable(n), cp.Parameter((n, n), PSD=True), cp.Parameter(n)
    parameters: list[cp.Parameter] = [Q, q]
    rules: list[cp.Constraint] = []
    if m:
        G, h = cp.Parameter((m, n)), cp.Parameter(m)
        rules, parameters = [G @ z <= h], [*parameters, G, h]
    if p:
        A, b = cp.Parameter((p, n)), cp.Parameter(p)
        rules, parameters = [*rules, A @ z == b], [*parameters, A, b]
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(z, Q) + q @ z), rules)
    return ConvexLayer(problem, parameters, [z], on_failure="nan")


def _row(value: Tensor | None, i: int) -> np.ndarray | None:
    return None if value is None else value[i].detach().numpy()
