"""A finding as a program of twenty lines that needs nothing of this folder."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np

from tests.adversary import formulas, proof
from tests.adversary.cones import FAMILIES, Curved
from tests.adversary.judge import (
    ABSOLUTE,
    BACKWARD,
    RELATIVE,
    WRONG_DERIVATIVE,
    WRONG_POINT,
    WRONG_STATUS,
    Verdict,
    sizes,
)
from tests.adversary.program import NAMES
from tests.adversary.shrink import Finding

CALLS = {
    "solve_qp": 's = solve_qp(*data, solver="{solver}", on_failure="ignore")\n'
    "z, lam, nu, statuses = s.z, s.lam, s.nu, [Status(v).name for v in s.status.flatten().tolist()]",
    "QPLayer": 'z = QPLayer("{solver}", on_failure="nan")(*data)\n'
    'statuses = ["not solved" if bad else "OPTIMAL" for bad in z.isnan().any(-1).flatten().tolist()]',
    "ConvexLayer": "z = as_convex_layer(*data)\n"
    'statuses = ["not solved" if bad else "OPTIMAL" for bad in z.isnan().any(-1).flatten().tolist()]',
}
#: a quadratic program through CVXPY; copied into scripts of what was found there
CONVEX = """
def as_convex_layer(*data):
    import cvxpy as cp
    from layers import ConvexLayer
    n, m, p = (data[i].shape[-1] for i in (1, 3, 5))
    x, P = cp.Variable(n), [cp.Parameter((n, n), PSD=True), *map(cp.Parameter, (n, (m, n), m, (p, n), p)[: 5])]
    rules = [P[2] @ x <= P[3]] * bool(m) + [P[4] @ x == P[5]] * bool(p)
    kept = [0, 1, *[2, 3] * bool(m), *[4, 5] * bool(p)]
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(x, P[0]) + P[1] @ x), rules)
    return ConvexLayer(problem, [P[i] for i in kept], [x], on_failure="nan")(*[data[i] for i in kept])[0]
"""
#: the ratios of the judge
RATIOS = {
    "Gz ≤ h": "(G @ z - h).clamp(min=0) / rows",
    "Az = b": "(A @ z - b).abs() / equal",
    "stationarity": "(Q @ z + q + G.T @ lam + A.T @ nu).abs() / columns",
    "λ ≥ 0": "(-lam).clamp(min=0) / most",
    "complementarity": "(h - G @ z) / rows * (G.abs() / columns).amax(1) * lam",
}


def script(finding: Finding) -> str:
    """The program; it prints FAIL as long as the finding is there."""
    case, door, place = finding.case, finding.door, finding.place
    known, outcome = case.truth, finding.verdict.outcome
    lines = [_title(finding), "import torch", "from layers import QPLayer, Status, solve_qp"]
    lines += [CONVEX.strip()] * (door.name == "ConvexLayer") + ["d = torch.float64"]
    for name in NAMES:
        value = np.stack([getattr(c.program, name) for c in finding.cases])
        shape = f".reshape{value.shape}" if not value.size else ""
        lines.append(f"{name} = torch.tensor({_listed(value)}, dtype=d){shape}")
    lines.append("data = [t.requires_grad_() for t in (Q, q, G, h, A, b)]")
    lines += CALLS[door.name].format(solver=door.solver).split("\n")
    lines.append(f'print("status", statuses[{place}], "right: {known.status}")')
    if outcome in (WRONG_POINT, WRONG_DERIVATIVE):
        lines.append(f'print("z", z[{place}].tolist(), "right:", {_listed(known.z)})')
    if outcome == WRONG_DERIVATIVE:
        lines += _derivative(finding)
    elif outcome == WRONG_POINT:
        lines += _point(finding)
    else:
        lines.append(
            f'print("FAIL" if statuses[{place}] not in {(known.status, *_modest(outcome))} else "PASS")'
        )
    return "\n".join(lines) + "\n"


def _title(finding: Finding) -> str:
    tidy = " ".join(finding.verdict.detail.split())[:160].replace('"', "'")
    family = finding.case.program.family
    return f'"""{finding.verdict.outcome}: {tidy}. Proved in rational arithmetic ({family}; {finding.origin})."""'


def _modest(outcome: str) -> tuple[str, ...]:
    """Statuses that claim nothing are no finding where a wrong status was."""
    return ("NUMERICAL_FAILURE", "ITERATION_LIMIT", "not solved") if outcome == WRONG_STATUS else ()


def _point(finding: Finding) -> list[str]:
    """The backward error where it was too large, with the sizes of terms that the judge took."""
    place, known = finding.place, finding.case.truth
    if finding.answer.lam is None:
        assert known.z_off is not None
        room = RELATIVE * np.abs(known.z).max() + BACKWARD / proof.ROBUST * known.z_off + ABSOLUTE
        return [
            f"off = (z[{place}] - torch.tensor({_listed(known.z)}, dtype=d)).abs()",
            f'print("FAIL" if (off > torch.tensor({_listed(room)}, dtype=d)).any() else "PASS", off.tolist())',
        ]
    assert finding.answer.z is not None
    assert finding.answer.nu is not None
    point = finding.answer.z, finding.answer.lam, finding.answer.nu
    size = sizes(finding.case.program, *point, known.z)
    listed = ", ".join(_listed(v) for v in (size.rows, size.equal, size.columns, size.lam))
    return [
        f"Q, q, G, h, A, b, z, lam, nu = (t.detach()[{place}] for t in (*data, z, lam, nu))",
        f"rows, equal, columns, most = (torch.tensor(v, dtype=d) for v in ({listed}))",
        f"off = ({RATIOS[finding.verdict.where]}).nan_to_num(0)",
        f'print("FAIL" if statuses[{place}] == "OPTIMAL" and (off > {BACKWARD}).any() else "PASS", off.tolist())',
    ]


def _derivative(finding: Finding) -> list[str]:
    case = finding.case
    w_z, w_lam, w_nu = case.weights
    if finding.answer.lam is None:
        w_lam, w_nu = 0 * w_lam, 0 * w_nu
    right = proof.direction(case.program, case.truth, w_z, w_lam, w_nu)
    terms = [
        f"(torch.tensor({_listed(w)}, dtype=d) * {name}[{finding.place}]).sum()"
        for name, w in (("z", w_z), ("lam", w_lam), ("nu", w_nu))
        if w.any()
    ]
    checks = [("q", right.z, right.z_off)]
    if right.complete:
        checks += [("h", -right.lam, right.lam_off), ("b", -right.nu, right.nu_off)]
    lines = [f"({' + '.join(terms)}).backward()", "good = True"]
    lines.append("for name, right, room in (")
    lines += [f'    ("{name}", {_listed(v)}, {_listed(off)}),' for name, v, off in checks if v.size]
    lines += [
        "):",
        f'    found, right = data["QqGhAb".index(name)].grad[{finding.place}], torch.tensor(right, dtype=d)',
        '    print(f"d{name}", found.tolist(), "right:", right.tolist())',
        "    good &= bool(((found - right).abs() <= 1e-5 * right.abs() + torch.tensor(room, dtype=d)).all())",
        'print("PASS" if good else "FAIL")',
    ]
    return lines


def _listed(value: np.ndarray) -> str:
    return repr((value + 0.0).tolist())  # no negative zeros


def curved_script(cases: Sequence[Curved], place: int, verdict: Verdict, origin: str) -> str:
    """The same for programs with curved cones, whose right answer is a formula."""
    case = cases[place]
    family, right = FAMILIES[case.family], case.right
    tidy = " ".join(verdict.detail.split())[:160].replace('"', "'")
    values = [np.stack(v).tolist() for v in zip(*(c.parameters for c in cases), strict=True)]
    lines = [
        f'"""{verdict.outcome}: {tidy}. The right answer is a formula ({case.family}; {origin})."""',
        "import cvxpy as cp, numpy as np, torch",
        "from layers import ConvexLayer, Status",
        "d = torch.float64",
        inspect.getsource(family.build).replace(" -> Parts", "").rstrip(),
        f"problem, parameters, variable = {family.build.__name__}()",
        f'layer = ConvexLayer(problem, parameters, [variable], gp={family.gp}, on_failure="ignore")',
        f"values = [torch.tensor(v, dtype=d, requires_grad=True) for v in {values}]",
        "s = layer.solve(*values)",
        f"x, status = s.variables[0][{place}].flatten(), Status(int(s.status[{place}])).name",
    ]
    if right is None:
        check = 'print("FAIL" if status in ("OPTIMAL", "UNBOUNDED") else "PASS", status, "right: INFEASIBLE")'
        return "\n".join([*lines, check, ""])
    size = float(np.abs(right).max() or max(np.abs(p).max() for p in case.parameters))
    lines += [
        f"right = torch.tensor({_listed(right)}, dtype=d)",
        'print(status, "x", x.tolist(), "right:", right.tolist())',
        f"good = status == 'OPTIMAL' and bool((x - right).abs().max() <= 1e-6 * {size!r})",
    ]
    if verdict.outcome == WRONG_DERIVATIVE:
        exact = formulas.pulled_back(family.formula, case.parameters, case.weights)
        lines += [
            f"weights = torch.tensor({_listed(case.weights)}, dtype=d)",
            f"found = [g[{place}] for g in torch.autograd.grad((weights * x).sum(), values)]",
            f"exact = [torch.tensor(v, dtype=d) for v in {[e.tolist() for e in exact]}]",
            'print("gradients", [g.tolist() for g in found], "right:", [e.tolist() for e in exact])',
            "good &= all(bool((g - e).abs().max() <= 1e-5 * e.abs().max()) for g, e in zip(found, exact))",
        ]
    return "\n".join([*lines, 'print("PASS" if good else "FAIL")', ""])
