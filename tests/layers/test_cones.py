"""Projections on cones and their derivatives, against definitions, high precision and differences."""

from __future__ import annotations

import clarabel
import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from layers.cone.projections import Decomposition, block_max, decompose, project, project_dual
from layers.cone_program import Cones
from tests.layers.conic_instances import CONES, svec

EVERY = [*CONES]


def slack_derivative(at: Decomposition, h: Tensor) -> Tensor:
    """DΠ_K(v) h for h of shape ``(B, m)``, from the frame that diagonalises it."""
    return at.out(at.inside.unsqueeze(-1) * at.into(h.unsqueeze(-1))).squeeze(-1)


@pytest.fixture(autouse=True)
def _engine() -> None:
    """No engine for quadratic programs takes part: each test runs once."""


def draw(cones: Cones, batch: int, spread: float = 0.0, seed: int = 0) -> Tensor:
    """Random points; with a spread, of sizes from 10^−spread to 10^spread."""
    g = torch.Generator().manual_seed(seed)
    v = torch.randn(batch, cones.rows, generator=g, dtype=torch.float64)
    power = 2 * torch.rand(v.shape, generator=g, dtype=torch.float64) - 1
    return v * 10 ** (spread * power)


def by_clarabel(cones: Cones, v: Tensor) -> np.ndarray:
    """argmin ½‖x − v‖² over K from the definition: x itself in the cone."""
    m = cones.rows
    list_ = [clarabel.ZeroConeT(cones.zero)] * (cones.zero > 0)
    list_ += [clarabel.NonnegativeConeT(cones.nonneg)] * (cones.nonneg > 0)
    list_ += [clarabel.SecondOrderConeT(d) for d in cones.soc]
    list_ += [clarabel.PSDTriangleConeT(k) for k in cones.psd]
    list_ += [clarabel.ExponentialConeT()] * cones.exp + [clarabel.PowerConeT(a) for a in cones.power]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    eye = sparse.identity(m, format="csc")
    answer = clarabel.DefaultSolver(eye, -v.numpy(), (-eye).tocsc(), np.zeros(m), list_, settings).solve()
    return np.array(answer.x)


@pytest.mark.parametrize("name", EVERY)
def test_projection_is_the_nearest_point_of_the_cone(name: str):
    cones, _ = CONES[name]
    for v in draw(cones, 8):
        assert np.abs(project(cones, v.unsqueeze(0))[0].numpy() - by_clarabel(cones, v)).max() < 2e-5


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("spread", [0.0, 5.0])
def test_moreau_decomposition_certifies_itself(name: str, spread: float):
    """v = s − y, sᵀy = 0, and both parts are fixed points of their projections."""
    cones, _ = CONES[name]
    v = draw(cones, 200, spread)
    at = decompose(cones, v)
    size = block_max(cones, v.abs())
    assert ((at.s - at.y - v).abs() / size).max() < 1e-12
    assert ((at.s * at.y).abs() / size**2).max() < 1
    assert ((at.s * at.y).sum(-1).abs() / size.square().amax(-1)).max() < 1e-13
    assert ((project(cones, at.s) - at.s).abs() / size).max() < 1e-9
    assert ((project_dual(cones, at.y) - at.y).abs() / size).max() < 1e-9


@pytest.mark.parametrize("name", EVERY)
def test_derivative_is_that_of_differences(name: str):
    cones, _ = CONES[name]
    v, h = draw(cones, 60), draw(cones, 60, seed=1)
    step = 1e-6
    difference = (project(cones, v + step * h) - project(cones, v - step * h)) / (2 * step)
    assert (slack_derivative(decompose(cones, v), h) - difference).abs().max() < 2e-8


@pytest.mark.parametrize("name", CONES)
def test_derivative_is_symmetric_between_zero_and_one_and_fixes_rays(name: str):
    cones, _ = CONES[name]
    v = draw(cones, 20, spread=2.0)
    at = decompose(cones, v)
    eye = torch.eye(cones.rows, dtype=torch.float64).expand(20, -1, -1)
    D = at.out(at.inside.unsqueeze(-1) * at.into(eye))
    assert (D - D.mT).abs().max() < 1e-12
    eigenvalues = torch.linalg.eigvalsh(D)
    assert eigenvalues.min() > -1e-12
    assert eigenvalues.max() < 1 + 1e-12
    assert (at.inside + at.outside - 1).abs().max() < 1e-15
    size = v.abs().amax(-1)
    assert ((slack_derivative(at, v) - at.s).abs().amax(-1) / size).max() < 1e-12


def test_without_curvature_the_derivative_of_the_exponential_cone_is_wrong():
    """The projection on the ray of Π(v), δ = (1, 0, 0), has 0 ⪯ D ⪯ I and Dv = Π(v) too: only differences tell."""
    cones = Cones(exp=1)
    v, h = torch.tensor([[1.0, 0.5, 0.2]], dtype=torch.float64), torch.tensor([[0.3, -0.2, 0.7]]).double()
    at = decompose(cones, v)
    ray = (at.s * h).sum() / at.s.square().sum() * at.s
    step = 1e-6
    difference = (project(cones, v + step * h) - project(cones, v - step * h)) / (2 * step)
    assert (ray - difference).abs().max() > 1e-2


def exponential_by_mpmath(v: list[float]) -> tuple[list, mp.matrix]:
    """Π(v) and DΠ(v) at 60 digits, for v on the curved part: bisection for ρ, the derivative by rays."""
    with mp.workdps(60):
        x, y, z = (mp.mpf(c) for c in v)
        low = 1 - y / x if x > 0 else -(mp.mpf(10) ** 30)
        high = x / y if y > 0 else mp.mpf(10) ** 30
        if x <= 0:
            low = high - 2000
        if y <= 0:
            high = low + 2000
        for _ in range(2000):
            r = (low + high) / 2
            N = r * r - r + 1
            a, B = (y - (1 - r) * x) / N, (x - r * y) / N
            if a * mp.exp(r) - B * mp.exp(-r) > z:
                high = r
            else:
                low = r
            if high - low < mp.mpf(10) ** -55 * (1 + abs(r)):
                break
        e = mp.exp(r)
        b = B / e
        p, n = mp.matrix([r, 1, e]), mp.matrix([e, (1 - r) * e, -1])
        p1, n1 = mp.matrix([1, 0, e]), mp.matrix([e, -r * e, 0])
        left, right = mp.matrix(3, 3), mp.matrix(3, 3)
        for i in range(3):
            left[i, 0], left[i, 2] = p[i], a * p1[i]
            right[i, 0], right[i, 1], right[i, 2] = p[i], n[i], a * p1[i] + b * n1[i]
        return [a * c for c in p], left * right**-1


@pytest.mark.parametrize(
    "v",
    [
        [1.0, 1.0, 1.0],
        [1.0, -49.0, 1.0],
        [50.0, 1.0, 1.0],
        [1e-10, 1.0, -1e-10],
        [1e10, 1.0, 1e10],
        [1.0, 1e-10, 1e10],
        [-1e-10, 1e-10, 0.0],
        [-30.0, 1.0, -1e-3],
        [3.0, -2.0, -1e-6],
        [1e-6, 1e6, -1e6],
    ],
)
def test_exponential_projection_and_derivative_at_extreme_arguments(v: list[float]):
    s, D = exponential_by_mpmath(v)
    at = decompose(Cones(exp=1), torch.tensor([v], dtype=torch.float64))
    size = max(abs(c) for c in v)
    assert max(abs(float(a - b)) for a, b in zip(s, at.s[0].tolist(), strict=True)) < 1e-14 * size
    eye = torch.eye(3, dtype=torch.float64).unsqueeze(0)
    ours = at.out(at.inside.unsqueeze(-1) * at.into(eye))[0]
    worst = max(abs(float(D[i, j]) - ours[i, j].item()) for i in range(3) for j in range(3))
    assert worst < 1e-12


@pytest.mark.parametrize(
    ("v", "s"),
    [
        ([-1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]),
        ([-1.0, -2.0, 3.0], [-1.0, 0.0, 3.0]),
        ([-1.0, -2.0, -3.0], [-1.0, 0.0, 0.0]),
        ([1.0, 0.0, -3.0], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([0.0, -1.0, 0.0], [0.0, 0.0, 0.0]),
        ([-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]),
    ],
)
def test_exponential_projection_inside_on_the_polar_and_on_the_face(v: list[float], s: list[float]):
    at = decompose(Cones(exp=1), torch.tensor([v], dtype=torch.float64))
    assert at.s[0].tolist() == pytest.approx(s, abs=1e-15)
    assert torch.isfinite(at.inside).all()


@pytest.mark.parametrize(("alpha", "slope"), [(0.3, 0.0), (0.5, 1 / (1 + 2 * 2)), (0.7, 1.0)])
def test_power_cone_where_the_derivative_depends_on_the_exponent(alpha: float, slope: float):
    """At z = 0, y < 0 < x: ∂Π_z/∂z is 0, x/(x + 2|y|) or 1; approached at |z| = 1e-12 it is the same."""
    for z in (0.0, 1e-12):
        at = decompose(Cones(power=(alpha,)), torch.tensor([[1.0, -2.0, z]], dtype=torch.float64))
        D = slack_derivative(at, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))[0, 2].item()
        assert abs(D - slope) < 1e-6
        mirrored = decompose(Cones(power=(1 - alpha,)), torch.tensor([[-2.0, 1.0, z]], dtype=torch.float64))
        D = slack_derivative(mirrored, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))[0, 2].item()
        assert abs(D - slope) < 1e-6


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_power_projection_satisfies_its_equations(scale: float):
    cones = Cones(power=(0.05, 0.3, 0.5, 0.95))
    v = scale * draw(cones, 300, spread=2.0)
    s = project(cones, v).unflatten(-1, (4, 3))
    y = decompose(cones, v).y.unflatten(-1, (4, 3))
    a = torch.tensor(cones.power, dtype=torch.float64)
    size = v.unflatten(-1, (4, 3)).abs().amax(-1)
    assert ((s[..., 2].abs() - s[..., 0] ** a * s[..., 1] ** (1 - a)) / size).max() < 1e-12
    dual = (y[..., 0] / a) ** a * (y[..., 1] / (1 - a)) ** (1 - a)
    assert ((y[..., 2].abs() - dual) / size).max() < 1e-11
    assert min(s[..., :2].min(), y[..., :2].min()) >= 0


def test_semidefinite_derivative_with_repeated_and_zero_eigenvalues():
    """At X = diag(2, 2, −1, −1) the entries between the clusters are multiplied by 2/3, those inside by 1 and 0."""
    cones = Cones(psd=(4,))
    H = draw(Cones(nonneg=16), 1).reshape(1, 4, 4)
    H = H + H.mT
    X = torch.diag(torch.tensor([2.0, 2.0, -1.0, -1.0], dtype=torch.float64)).unsqueeze(0)
    factor = torch.full((4, 4), 2 / 3, dtype=torch.float64)
    factor[:2, :2], factor[2:, 2:] = 1, 0
    assert (slack_derivative(decompose(cones, svec(X)), svec(H)) - svec(factor * H)).abs().max() < 1e-14
    rank_one = torch.zeros(1, 4, 4, dtype=torch.float64)
    rank_one[0, 0, 0] = 1
    assert torch.isfinite(slack_derivative(decompose(cones, svec(rank_one)), svec(H))).all()


def test_second_order_cone_at_its_apex_and_axis():
    cones = Cones(soc=(3,))
    for v in ([0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]):
        at = decompose(cones, torch.tensor([v], dtype=torch.float64))
        assert at.s[0].tolist() == pytest.approx([max(v[0], 0.0), 0.0, 0.0], abs=0)
        assert torch.isfinite(slack_derivative(at, at.s + 1)).all()


def test_blocks_of_a_product_do_not_know_each_other():
    """Blocks of several sizes in mixed order give what each gives alone."""
    cones = Cones(zero=1, nonneg=2, soc=(3, 2, 3, 1), psd=(2, 1, 2), exp=2, power=(0.2, 0.7))
    v = draw(cones, 5)
    alone = [
        Cones(zero=1),
        Cones(nonneg=2),
        Cones(soc=(3,)),
        Cones(soc=(2,)),
        Cones(soc=(3,)),
        Cones(soc=(1,)),
    ]
    alone += [Cones(psd=(2,)), Cones(psd=(1,)), Cones(psd=(2,)), Cones(exp=1), Cones(exp=1)]
    alone += [Cones(power=(0.2,)), Cones(power=(0.7,))]
    parts = torch.split(v, [c.rows for c in alone], dim=-1)
    expected = torch.cat([project(c, part) for c, part in zip(alone, parts, strict=True)], -1)
    assert torch.allclose(project(cones, v), expected, rtol=1e-14, atol=1e-15)
