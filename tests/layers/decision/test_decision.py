"""Decision-focused losses against enumerated vertices and closed forms."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from layers import DifferentiationError, LayerError, ProblemError, solve_qp
from layers.decision import blackbox, fenchel_young, perturbed, spo_plus
from tests.layers.instances import assert_close

#: vertices of the polytope {w ∈ [0, 1]⁴ : Σw = 2}
VERTICES = torch.tensor(
    [v for v in itertools.product((0.0, 1.0), repeat=4) if sum(v) == 2], dtype=torch.float64
)


def cheapest(costs: Tensor) -> Tensor:
    return VERTICES[(costs.unsqueeze(-2) * VERTICES).sum(-1).argmin(-1)]


def larger(costs: Tensor) -> Tensor:
    """argmin ⟨c, w⟩ over [−1, 1] in one variable."""
    return -torch.sign(costs)


def draw(rng, *shape: int) -> Tensor:
    return torch.from_numpy(rng.standard_normal(shape))


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
def test_spo_plus_is_its_definition_over_the_vertices(rng, batch: tuple[int, ...]) -> None:
    predicted, true = draw(rng, *batch, 4).requires_grad_(), draw(rng, *batch, 4)
    loss = spo_plus(cheapest, predicted, true)
    support = ((true - 2 * predicted).unsqueeze(-2) * VERTICES).sum(-1).amax(-1)
    optimum = (true.unsqueeze(-2) * VERTICES).sum(-1).amin(-1)
    assert_close(loss, support + 2 * (predicted * cheapest(true)).sum(-1) - optimum, 1e-14)
    (gradient,) = torch.autograd.grad(loss.sum(), predicted)
    assert_close(gradient, 2 * (cheapest(true) - cheapest(2 * predicted - true)), 1e-14)


def test_spo_plus_bounds_the_regret_and_is_zero_at_the_truth(rng) -> None:
    predicted, true = draw(rng, 200, 4), draw(rng, 200, 4)
    regret = (true * (cheapest(predicted) - cheapest(true))).sum(-1)
    assert (spo_plus(cheapest, predicted, true) >= regret - 1e-12).all()
    assert (regret > 0.1).any()
    assert_close(spo_plus(cheapest, true, true), torch.zeros(200, dtype=torch.float64), 1e-14)


def test_spo_plus_takes_the_layer_for_a_solver(rng) -> None:
    eye = torch.eye(4, dtype=torch.float64)
    G, h = torch.cat([eye, -eye]), torch.cat([torch.ones(4), torch.zeros(4)]).double()
    A, b = torch.ones(1, 4, dtype=torch.float64), torch.full((1,), 2.0, dtype=torch.float64)
    predicted, true = draw(rng, 6, 4), draw(rng, 6, 4)
    found = spo_plus(lambda c: solve_qp(0 * eye, c, G, h, A, b).z, predicted, true)
    assert_close(found, spo_plus(cheapest, predicted, true), 1e-7)


def test_perturbed_decisions_are_those_of_the_closed_form(rng) -> None:
    """E argmin over [−1, 1] of (c + σZ)w is −erf(c / (σ√2)), its derivative −2φ(c/σ)/σ."""
    costs, sigma = draw(rng, 3, 1).requires_grad_(), 0.7
    generator = torch.Generator().manual_seed(1)
    found = perturbed(larger, costs, sigma, 200_000, generator=generator)
    assert_close(found, -torch.erf(costs / (sigma * math.sqrt(2))), 1e-2)
    (slope,) = torch.autograd.grad(found.sum(), costs)
    density = torch.exp(-0.5 * (costs / sigma) ** 2) / math.sqrt(2 * math.pi)
    assert_close(slope, -2 * density / sigma, 3e-2)


def test_fenchel_young_has_the_gradient_of_its_own_value(rng) -> None:
    """With fixed draws the loss is piecewise linear and convex, so differences inside of a piece are exact."""
    costs, decisions = draw(rng, 2, 4).requires_grad_(), cheapest(draw(rng, 2, 4))

    def loss(c: Tensor) -> Tensor:
        return fenchel_young(cheapest, c, decisions, 0.5, 7, generator=torch.Generator().manual_seed(3))

    (gradient,) = torch.autograd.grad(loss(costs).sum(), costs)
    for place in itertools.product(range(2), range(4)):
        step = torch.zeros_like(costs)
        step[place] = 1e-6
        difference = (loss(costs + step) - loss(costs - step)).sum() / 2e-6
        assert difference.item() == pytest.approx(gradient[place].item(), abs=1e-8)


def test_fenchel_young_draws_costs_to_the_decision_wanted(rng) -> None:
    costs, generator = draw(rng, 1, 4).requires_grad_(), torch.Generator().manual_seed(0)
    wanted = VERTICES[3:4]
    optimiser = torch.optim.Adam([costs], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        fenchel_young(cheapest, costs, wanted, 0.3, 5, generator=generator).sum().backward()
        optimiser.step()
    assert torch.equal(cheapest(costs), wanted)


def test_the_second_derivative_of_fenchel_young_is_that_of_the_perturbed_decision(rng) -> None:
    costs, decision = draw(rng, 3, 1).requires_grad_(), torch.ones(3, 1, dtype=torch.float64)
    loss = fenchel_young(larger, costs, decision, 0.7, 200_000, generator=torch.Generator().manual_seed(1))
    (first,) = torch.autograd.grad(loss.sum(), costs, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), costs)
    density = torch.exp(-0.5 * (costs / 0.7) ** 2) / math.sqrt(2 * math.pi)
    assert_close(second, 2 * density / 0.7, 3e-2)


def test_blackbox_is_the_slope_of_the_interpolation(rng) -> None:
    costs, w, weight = draw(rng, 3, 4).requires_grad_(), draw(rng, 3, 4), 2.5
    decisions = blackbox(cheapest, costs, weight)
    assert torch.equal(decisions, cheapest(costs))
    (gradient,) = torch.autograd.grad((decisions * w).sum(), costs)
    assert_close(gradient, (cheapest(costs + weight * w) - cheapest(costs)) / weight, 1e-14)
    assert gradient.abs().max() > 0.1


def test_blackbox_of_an_affine_solver_is_its_true_derivative(rng) -> None:
    """w*(c) = −c, the minimiser of ⟨c, w⟩ + ½‖w‖²: the interpolation of a linear map is itself, for every weight."""
    costs, w = draw(rng, 4).requires_grad_(), draw(rng, 4)
    (gradient,) = torch.autograd.grad(blackbox(torch.neg, costs, 17.0) @ w, costs)
    assert_close(gradient, -w, 1e-14)


def test_second_derivatives_that_do_not_exist_are_refused(rng) -> None:
    costs = draw(rng, 2, 4).requires_grad_()
    for value in (blackbox(cheapest, costs), perturbed(cheapest, costs)):
        with pytest.raises(DifferentiationError, match="first derivatives in reverse mode alone"):
            torch.autograd.grad(value.sum(), costs, create_graph=True)


def test_dtype_is_kept(rng) -> None:
    costs = draw(rng, 2, 4).float().requires_grad_()
    assert spo_plus(cheapest, costs, costs.detach()).dtype is torch.float32
    assert blackbox(cheapest, costs).dtype is torch.float32
    assert fenchel_young(cheapest, costs, costs.detach()).dtype is torch.float32


ONE = torch.ones(2, 4, dtype=torch.float64)
BAD = (
    (lambda: spo_plus(cheapest, ONE, ONE[:1]), ProblemError, r"true must have the shape of predicted, \(2, 4\)"),
    (lambda: spo_plus(cheapest, ONE.long(), ONE), ProblemError, "real floating dtype"),
    (lambda: spo_plus(cheapest, ONE / 0, ONE), ProblemError, "not finite"),
    (lambda: blackbox(cheapest, ONE.sum()), ProblemError, "a scalar"),
    (lambda: blackbox(cheapest, ONE, 0.0), LayerError, "weight must be positive"),
    (lambda: fenchel_young(cheapest, ONE, ONE, -1.0), LayerError, "sigma must be positive"),
    (lambda: fenchel_young(cheapest, ONE, ONE, 1.0, 0), LayerError, "samples must be a whole number"),
    (lambda: blackbox(lambda c: c[..., :3], ONE), LayerError, r"shape of its costs, \(2, 4\); found \(2, 3\)"),
    (lambda: blackbox(lambda c: c.tolist(), ONE), LayerError, "found list"),
    (lambda: blackbox(lambda c: c / 0, ONE), LayerError, "not finite: bound the set"),
    (lambda: blackbox("path", ONE), LayerError, "must be a function"),
)  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_refused_in_words(call, error: type[LayerError], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
