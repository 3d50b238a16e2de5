"""The layer inside torch.compile: one graph where an operator can stand for it, a break where it cannot."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import Unsupported
from torch.autograd import forward_ad

from layers import LayerError, ProblemError, QPLayer, SolverError, solve_qp
from layers.qp import operators
from tests.layers.instances import NAMES, Data, assert_close, leaves, random_qp, weigh

FOUND = ("z", "lam", "nu", "s", "objective")


@pytest.fixture(autouse=True)
def _engine() -> None:
    """In place of the matrix of both engines, which are the same node of a graph; and nothing compiled before."""
    torch.compiler.reset()


def compiled(function, fullgraph: bool = True):
    return torch.compile(function, backend="aot_eager", fullgraph=fullgraph)


def infeasible_second(rng) -> Data:
    Q, q, G, h, A, b = (t.clone() for t in random_qp(rng, 4, 6, 1, batch=(3,)))
    G[1, 0], h[1, 0] = 0, -1
    return Q, q, G, h, A, b


@pytest.mark.parametrize("solver", ["auto", "interior_point"])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_one_graph_has_the_values_and_gradients_of_eager_calls(
    rng, batch: tuple[int, ...], solver: str
) -> None:
    data = random_qp(rng, 4, 6, 1, batch=batch)

    def outputs(*data: Tensor) -> tuple[Tensor, ...]:
        solution = solve_qp(*data, solver=solver)
        return tuple(getattr(solution, name) for name in FOUND)

    for weights in weights_of_outputs():
        found, expected = leaves(data), leaves(data)
        one, other = compiled(outputs)(*found), outputs(*expected)
        for name, x, y in zip(FOUND, one, other, strict=True):
            assert_close(x, y, 1e-12, name)
        gradients = [
            torch.autograd.grad(sum(w * weigh(v) for w, v in zip(weights, values, strict=True)), variables)
            for values, variables in ((one, found), (other, expected))
        ]
        for name, x, y in zip(NAMES, *gradients, strict=True):
            assert_close(x, y, 1e-12, name)


def learned(*tensors: Tensor) -> list[Tensor]:
    return [t.detach().clone().requires_grad_() for t in tensors]


def weights_of_outputs() -> list[tuple[float, ...]]:
    return [(1, 0, 0, 0, 0), (0, 0, 0, 0, 1), (0.3, 0.5, 0.7, 1.1, 1.3)]


def test_shared_arguments_batches_of_any_size_and_single_precision(rng) -> None:
    Q, _, G, h, A, b = (t.float() for t in random_qp(rng, 4, 6, 1))
    layer = compiled(QPLayer(tol=1e-6))
    for size in (5, 1, 8, 3):
        q = torch.tensor(rng.normal(size=(size, 4)), dtype=torch.float32)
        found, expected = learned(Q, q, G), learned(Q, q, G)
        one = layer(*found, h, A, b)
        other = solve_qp(*expected, h, A, b, tol=1e-6).z
        assert one.dtype == torch.float32
        assert_close(one, other, 1e-6)
        gradients = [torch.autograd.grad(weigh(z), v) for z, v in ((one, found), (other, expected))]
        for x, y in zip(*gradients, strict=True):
            assert_close(x, y, 1e-5)


def test_absent_constraints(rng) -> None:
    Q, q, *_ = random_qp(rng, 4, 0, 0, batch=(3,))
    assert_close(compiled(QPLayer())(Q, q), -torch.linalg.solve(Q, q), 1e-12)


def test_a_failure_raises_the_same_error(rng) -> None:
    with pytest.raises(SolverError, match=r"element \(1,\): INFEASIBLE"):
        compiled(QPLayer())(*infeasible_second(rng))


@pytest.mark.parametrize("policy", ["nan", "ignore"])
def test_policies_for_failures(rng, policy: str) -> None:
    data = infeasible_second(rng)
    layer = QPLayer(on_failure=policy)
    found, expected = leaves(data), leaves(data)
    one, other = compiled(layer)(*found), layer(*expected)
    assert torch.equal(torch.isnan(one), torch.isnan(other))
    assert torch.isnan(one).any() == (policy == "nan")
    assert_close(one.nan_to_num(), other.nan_to_num(), 1e-12)
    gradients = [torch.autograd.grad(weigh(z[::2]), v) for z, v in ((one, found), (other, expected))]
    for x, y in zip(*gradients, strict=True):
        assert_close(x, y, 1e-12)
        assert not x[1].any()


def test_bad_data_and_bad_options_raise_the_same_errors(rng) -> None:
    Q, q, *_ = random_qp(rng, 4, 0, 0, batch=(3,))
    with pytest.raises(ProblemError, match=r"q must be finite"):
        compiled(QPLayer())(Q, torch.full_like(q, torch.nan))
    with pytest.raises(ProblemError, match=r"Q must end in"):
        compiled(QPLayer(), fullgraph=False)(Q, q[:, :3])
    with pytest.raises(LayerError, match=r"tol must be positive"):
        compiled(lambda *d: solve_qp(*d, tol=-1.0).z, fullgraph=False)(Q, q)


def test_a_warm_start_inside_the_graph(rng) -> None:
    data = random_qp(rng, 4, 6, 1, batch=(3,))

    def twice(*d: Tensor) -> tuple[Tensor, Tensor]:
        solution = solve_qp(*d, warm_start=solve_qp(*d))
        return solution.z, solution.iterations

    z, iterations = compiled(twice)(*data)
    assert_close(z, solve_qp(*data).z, 1e-12)
    assert not iterations.any()


def test_vmap_inside_the_graph(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 4, 6, 1, batch=(3,))

    def mapped(Q: Tensor, q: Tensor) -> Tensor:
        return torch.func.vmap(lambda Q, q: solve_qp(Q, q, G[0], h[0], A[0], b[0]).z)(Q, q)

    found, expected = learned(Q, q), learned(Q, q)
    one, other = compiled(mapped)(*found), mapped(*expected)
    assert_close(one, other, 1e-12)
    for x, y in zip(
        torch.autograd.grad(weigh(one), found), torch.autograd.grad(weigh(other), expected), strict=True
    ):
        assert_close(x, y, 1e-12)


TRANSFORMS = {
    "jvp": lambda f, q: torch.func.jvp(f, (q,), (torch.ones_like(q),))[1],
    "gradient": lambda f, q: torch.func.grad(lambda q: weigh(f(q)))(q),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_that_an_operator_does_not_know_break_the_graph_and_are_right(rng, name: str) -> None:
    Q, q, G, h, A, b = random_qp(rng, 4, 6, 1)

    def derivative(q: Tensor) -> Tensor:
        return TRANSFORMS[name](lambda q: solve_qp(Q, q, G, h, A, b).z, q)

    found = compiled(derivative, fullgraph=False)(q)
    torch.compiler.reset()
    with pytest.raises(Unsupported):
        compiled(derivative)(q)
    assert found.abs().max() > 1e-2
    assert_close(found, derivative(q), 1e-12)


def test_forward_mode_around_a_compiled_layer(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 4, 6, 1)
    layer = compiled(QPLayer(), fullgraph=False)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(q, torch.ones_like(q))
        tangents = [forward_ad.unpack_dual(f(Q, dual, G, h, A, b)).tangent for f in (layer, QPLayer())]
    assert tangents[1].abs().max() > 1e-2
    assert_close(tangents[0], tangents[1], 1e-12)


def test_a_third_party_layer_breaks_the_graph(rng) -> None:
    data = random_qp(rng, 4, 6, 1, batch=(3,))
    layer = QPLayer(solver="qpth", tol=1e-6)
    assert_close(compiled(layer, fullgraph=False)(*data), layer(*data), 1e-12)
    torch.compiler.reset()
    with pytest.raises(Unsupported):
        compiled(layer)(*data)


def test_the_operators_keep_the_rules_of_operators(rng) -> None:
    """Schema, fake implementation and derivative, as torch checks them, with static and dynamic shapes."""
    Q, q, G, h, A, b = (t.requires_grad_() for t in random_qp(rng, 4, 6, 1, batch=(3,)))
    options = (None, None, None, None, "auto", 1e-8, 100, "raise", 2e-16)
    torch.library.opcheck(operators._solve, (Q, q, G, h, A, b, *options))
    kind, solved = torch.ones(3, 6, dtype=torch.int8), torch.ones(3, dtype=torch.float64)
    kind[:, 1:] = 0
    torch.library.opcheck(operators.solve_linearised, (True, Q, G, A, kind, solved, q, h, b))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"solver": "qpth"}, {"solver": "auto"}),
        ({"adjoint": "unrolled"}, {"adjoint": "auto"}),
        ({"adjoint": "lpgd"}, {"adjoint": "auto"}),
        ({"sparse": True}, {"sparse": False}),
    ],
    ids=["third party", "iteration", "differences", "sparse"],
)
def test_what_an_exported_program_cannot_keep_is_refused_and_the_advice_works(rng, change, remedy) -> None:
    """In the mode of torch.export that runs the layer on shapes alone; the other one tells of a graph that breaks."""

    class Model(torch.nn.Module):
        def __init__(self, sparse: bool = False, **options: str) -> None:
            super().__init__()
            self.layer, self.sparse = QPLayer(**options), sparse

        def forward(self, Q: Tensor, q: Tensor) -> Tensor:
            return self.layer(Q.to_sparse() if self.sparse else Q, q)

    data = random_qp(rng, 3, 0, 0)[:2]
    with pytest.raises(LayerError, match=r"torch.export does not take .*: pass"):
        torch.export.export(Model(**change), data, strict=False)
    program = torch.export.export(Model(**remedy), data, strict=False).module()
    assert_close(program(data[0], 2 * data[1]), QPLayer()(data[0], 2 * data[1]), 1e-12, "z")
