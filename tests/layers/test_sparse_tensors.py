"""Quadratic programs of sparse tensors: the answers and gradients of dense ones, on the pattern, by either room."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ProblemError, QPLayer, Solution, Status, cone_program, solve_qp
from layers.cone import function
from layers.linalg import memory
from tests.layers.instances import as_data

N, M, P = 7, 5, 2
GIVEN = ("Q", "q", "G", "h", "A", "b")


@pytest.fixture(autouse=True, params=["by cones", "dense"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every program counts as sparse, or as the library counts it: these small ones as dense."""
    if request.param == "by cones":
        monkeypatch.setattr(cone_program, "LARGE", 0.0)
        monkeypatch.setattr(cone_program, "SPARSE_COST", 0.0)
    return request.param


def program(*batch: int, seed: int = 0) -> dict[str, Tensor]:
    """Made from its solution, with zeros in all matrices: three of five rows active, none weakly."""
    rng = np.random.default_rng(seed)
    kept = [rng.random((rows, N)) < 0.5 for rows in (N, M, P)]
    root, G, A = (rng.normal(size=(*batch, *own.shape)) * own for own in kept)
    z, nu, size = (rng.normal(size=(*batch, k)) for k in (N, P, M))
    lam, s = (
        np.where(np.arange(M) < 3, abs(size) + 0.5, 0.0),
        np.where(np.arange(M) < 3, 0.0, abs(size) + 0.5),
    )
    Q = root @ root.swapaxes(-1, -2) + np.eye(N)
    times = lambda K, v: (K @ v[..., None])[..., 0]  # noqa: E731
    q = -(times(Q, z) + times(G.swapaxes(-1, -2), lam) + times(A.swapaxes(-1, -2), nu))
    return dict(zip(GIVEN, as_data(Q, q, G, times(G, z) + s, A, times(A, z)), strict=True))


def rows_of(matrix: Tensor) -> Tensor:
    """CSR, the elements of a batch on the union of their patterns."""
    if matrix.dim() == 2:
        return matrix.to_sparse_csr()
    pattern = (matrix != 0).any(0)
    counts = torch.cat([torch.zeros(1, dtype=torch.int64), pattern.sum(1).cumsum(0)])
    columns, batch = pattern.nonzero()[:, 1], len(matrix)
    return torch.sparse_csr_tensor(
        counts.expand(batch, -1).contiguous(),
        columns.expand(batch, -1).contiguous(),
        matrix[:, pattern],
        matrix.shape,
    )


LAYOUTS = {"COO": Tensor.to_sparse, "CSR": rows_of}


def loss(solution: Solution) -> Tensor:
    """Of every output that has a derivative."""
    parts = (solution.z.sin(), solution.lam.square(), solution.nu, solution.s.cos(), solution.objective)
    return torch.stack([part.sum() for part in parts]).sum()


def both(data: dict[str, Tensor], sparse: dict[str, Tensor]) -> None:
    """Sparse tensors against dense ones: every output, and gradients on the pattern in the layout that was given."""
    dense = [data[name].clone().requires_grad_() for name in GIVEN]
    mixed = [sparse.get(name, data[name]).detach().clone().requires_grad_() for name in GIVEN]
    right, found = solve_qp(*dense, solver="native"), solve_qp(*mixed)
    assert (found.status == Status.OPTIMAL).all()
    assert found.residuals.largest.max() < 1e-12
    for name in ("z", "lam", "nu", "s", "objective"):
        torch.testing.assert_close(getattr(found, name), getattr(right, name), rtol=1e-11, atol=1e-11)
    assert (found.degeneracy.rank_deficiency == right.degeneracy.rank_deficiency).all()
    of_dense, of_sparse = (torch.autograd.grad(loss(s), v) for s, v in ((right, dense), (found, mixed)))
    for name, exact, own, given in zip(GIVEN, of_dense, of_sparse, mixed, strict=True):
        assert own.layout == given.layout
        on_pattern = exact
        if own.layout is not torch.strided:
            ones = given.detach().to_dense().sparse_mask(given.detach().coalesce()) if own.is_sparse else None
            there = torch.ones_like(ones.values()) if ones is not None else torch.ones_like(given.values())
            mask = _with_values(given.detach(), there).to_dense()
            on_pattern, own = exact * mask, own.to_dense()
            assert on_pattern.abs().max() > 1e-3, name
        torch.testing.assert_close(own, on_pattern, rtol=1e-9, atol=1e-10)


def _with_values(given: Tensor, values: Tensor) -> Tensor:
    if given.is_sparse:
        return torch.sparse_coo_tensor(given.coalesce().indices(), values, given.shape)
    return torch.sparse_csr_tensor(given.crow_indices(), given.col_indices(), values, given.shape)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("names", ["QGA", "Q", "G", "A"])
def test_sparse_and_mixed_arguments_give_what_dense_ones_give(layout: str, names: str) -> None:
    data = program()
    both(data, {name: LAYOUTS[layout](data[name]) for name in names})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_of_values_and_a_matrix_shared_over_it(layout: str) -> None:
    data = program(3)
    both(data, {name: LAYOUTS[layout](data[name]) for name in "QGA"})
    shared = data | {"Q": data["Q"][0], "A": data["A"][0], "b": data["b"][0]}
    both(shared, {name: LAYOUTS[layout](shared[name]) for name in "QGA"})


def test_a_pattern_that_differs_over_the_batch_is_that_of_each_element() -> None:
    data = program(2)
    first = program(seed=1)
    data = {name: torch.stack([data[name][0], first[name]]) for name in GIVEN}
    assert ((data["G"][0] != 0) != (data["G"][1] != 0)).any()
    both(data, {name: data[name].to_sparse() for name in "QGA"})


def test_several_batch_axes_and_one_of_size_one() -> None:
    data = program(2, 3)
    sparse = {name: data[name].to_sparse() for name in "QGA"}
    right, found = solve_qp(**data), solve_qp(**(data | sparse))
    torch.testing.assert_close(found.z, right.z, rtol=1e-11, atol=1e-11)
    assert found.status.shape == (2, 3)
    one = {name: value[:1, :1] for name, value in data.items()}
    found = solve_qp(**(one | {name: one[name].to_sparse() for name in "QGA"}))
    torch.testing.assert_close(found.z, right.z[:1, :1], rtol=1e-11, atol=1e-11)


def test_duplicates_are_summed_and_explicit_zeros_have_a_gradient() -> None:
    data = program()
    data["G"][:2] = 0.0
    data["G"][0, 2], data["G"][1, 3], data["h"][:2] = 3.0, 0.0, torch.tensor([-4.0, 1.0])
    there = data["G"].nonzero().T
    places = torch.cat([torch.tensor([[1, 0], [3, 2]]), there], 1)
    values = torch.cat([torch.tensor([0.0, 1.0]).double(), data["G"][tuple(there)]])
    values[there.shape[1] * 0 + 2 + ((there[0] == 0) & (there[1] == 2)).nonzero().item()] = 2.0
    both(data, {"G": torch.sparse_coo_tensor(places, values, (M, N))})


def test_rows_may_list_their_columns_in_any_order() -> None:
    data = program()
    G = data["G"].to_sparse_csr()
    start, columns, values = G.crow_indices(), G.col_indices().clone(), G.values().clone()
    for i in range(M):
        own = slice(int(start[i]), int(start[i + 1]))
        columns[own], values[own] = columns[own].flip(0), values[own].flip(0)
    both(data, {"G": torch.sparse_csr_tensor(start, columns, values, (M, N))})


def test_a_layer_and_other_dtypes_and_engines() -> None:
    data = program()
    sparse = data | {name: data[name].to_sparse() for name in "QGA"}
    right = solve_qp(**data).z
    torch.testing.assert_close(QPLayer()(**sparse), right, rtol=1e-11, atol=1e-11)
    single = QPLayer()(**{name: value.float() for name, value in sparse.items()})
    assert single.dtype == torch.float32
    assert QPLayer()(**(sparse | {"Q": sparse["Q"].float()})).dtype == torch.float64
    for solver in ("native", "interior_point", "admm"):
        torch.testing.assert_close(solve_qp(**sparse, solver=solver).z, right, rtol=1e-9, atol=1e-9)
    for adjoint in ("lpgd", "smoothed", "unrolled"):
        Q = sparse["Q"].clone().requires_grad_()
        QPLayer(adjoint=adjoint)(**(sparse | {"Q": Q})).sum().backward()
        assert Q.grad is not None
        assert Q.grad.is_sparse


def test_derivatives_of_every_order_and_transforms_are_those_of_dense_matrices() -> None:
    data = program()
    Q = data["Q"].to_sparse()
    rest = {name: data[name] for name in "GhAb"} | {"G": data["G"].to_sparse_csr()}

    def of_q(q: Tensor) -> Tensor:
        return solve_qp(Q, q, **rest).z.pow(3).sum()

    def of_q_densely(q: Tensor) -> Tensor:
        return solve_qp(data["Q"], q, *(data[name] for name in "GhAb"), solver="native").z.pow(3).sum()

    for derivative in (torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        torch.testing.assert_close(derivative(of_q)(data["q"]), derivative(of_q_densely)(data["q"]))
    many = torch.stack([data["q"], 2 * data["q"]])
    torch.testing.assert_close(torch.func.vmap(of_q)(many), torch.func.vmap(of_q_densely)(many))
    assert torch.func.grad(lambda Q: solve_qp(Q, data["q"], **rest).z.sum())(Q).is_sparse
    seconds: list[Tensor] = []
    for given in (Q, data["Q"].to_sparse_csr(), data["Q"]):
        own = given.clone().requires_grad_()
        z = solve_qp(own, data["q"], **rest).z
        (first,) = torch.autograd.grad(z.pow(3).sum(), own, create_graph=True)
        on_pattern = first if given.layout is torch.strided else first.to_dense()
        mask = data["Q"] != 0
        (second,) = torch.autograd.grad((on_pattern * mask).square().sum(), own)
        seconds.append(second if given.layout is torch.strided else second.to_dense())
    torch.testing.assert_close(seconds[0], seconds[2] * (data["Q"] != 0))
    torch.testing.assert_close(seconds[1], seconds[0])


def test_a_warm_start_needs_no_iteration() -> None:
    data = program(2)
    sparse = data | {name: data[name].to_sparse() for name in "QGA"}
    first = solve_qp(**sparse)
    again = solve_qp(**sparse, warm_start=first)
    assert not again.iterations.any()
    torch.testing.assert_close(again.z, first.z, rtol=1e-12, atol=1e-12)


def test_what_has_no_solution_is_told_and_does_not_touch_the_rest() -> None:
    data = program(2)
    data["G"][:, 0], data["G"][:, 1] = torch.eye(N)[0], -torch.eye(N)[0]
    data["h"][:, :2] = torch.tensor([[5.0, 5.0], [-1.0, -1.0]])
    sparse = data | {name: data[name].to_sparse() for name in "QGA"}
    found = solve_qp(**sparse, on_failure="nan")
    assert found.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE]
    right = solve_qp(**{name: value[0] for name, value in data.items()}).z
    torch.testing.assert_close(found.z[0], right, rtol=1e-11, atol=1e-11)
    assert found.z[1].isnan().all()
    zero = torch.sparse_coo_tensor(torch.zeros(2, 0).long(), torch.zeros(0).double(), (N, N))
    assert solve_qp(zero, data["q"][0], on_failure="nan").status == Status.UNBOUNDED


def spoilt(matrix: Tensor, places: list[list[int]], values: list[float]) -> Tensor:
    """A sparse tensor that torch was not asked to check."""
    return torch.sparse_coo_tensor(
        torch.tensor(places), torch.tensor(values).double(), matrix.shape, check_invariants=False
    )


BAD = {
    "outside": (
        lambda d: {"G": spoilt(d["G"], [[0, 9], [1, 2]], [1.0, 1.0])},
        r"G has an entry at \(9, 2\), outside",
    ),
    "negative": (
        lambda d: {"A": spoilt(d["A"], [[0, -1], [1, 2]], [1.0, 1.0])},
        r"A has an entry at \(-1, 2\)",
    ),
    "column outside": (
        lambda d: {"A": torch.sparse_csr_tensor([0, 1, 2], [0, N], [1.0, 1.0], (P, N), dtype=torch.float64)},
        rf"A has an entry at \(1, {N}\), outside",
    ),
    "offsets": (
        lambda d: {"A": torch.sparse_csr_tensor([0, 3, 2], [0, 1], [1.0, 1.0], (P, N), dtype=torch.float64)},
        r"A.crow_indices\(\) must rise from 0",
    ),
    "NaN": (lambda d: {"G": (d["G"] * torch.nan).to_sparse()}, "G must be finite; found NaN"),
    "infinity": (
        lambda d: {"Q": (d["Q"] * torch.inf).nan_to_num(0.0, torch.inf).to_sparse()},
        "Q must be finite",
    ),
    "one triangle": (lambda d: {"Q": d["Q"].triu().to_sparse()}, "Q must be symmetric"),
    "indefinite": (
        lambda d: {"Q": (d["Q"] - 5 * torch.eye(N)).to_sparse()},
        "Q must be positive semidefinite",
    ),
    "columns": (lambda d: {"Q": d["Q"].to_sparse_csc()}, r"call Q.to_sparse_coo\(\)"),
    "hybrid": (
        lambda d: {"Q": torch.sparse_coo_tensor([[0, 1]], torch.ones(2, N).double(), (N, N))},
        "Q must have one number in each place, found a hybrid tensor",
    ),
    "vector": (lambda d: {"q": d["q"].to_sparse()}, r"q must be dense.*call q.to_dense\(\)"),
    "rows": (lambda d: {"G": d["G"][1:].to_sparse()}, r"G must end in \(m, n\)"),
    "integers": (lambda d: {"G": d["G"].long().to_sparse()}, r"call G.double\(\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_error(name: str) -> None:
    make, message = BAD[name]
    data = program()
    with pytest.raises(ProblemError, match=message):
        solve_qp(**(data | make(data)))


def test_vmap_over_sparse_tensors_is_refused_with_the_way_out() -> None:
    data = program()
    Q = data["Q"].to_sparse()
    with pytest.raises(ProblemError, match=r"torch.stack\(\[Q, Q\]\)"):
        torch.func.vmap(lambda Q: solve_qp(Q, data["q"]).z)(torch.stack([Q, Q]))


def test_large_sparse_problems_alone_are_solved_by_cones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cone_program, "LARGE", 3e8)
    monkeypatch.setattr(cone_program, "SPARSE_COST", 10.0)
    called: list[int] = []
    solve = function.solver_.solve
    monkeypatch.setattr(function.solver_, "solve", lambda *a, **k: called.append(1) or solve(*a, **k))
    for n, sparse in ((40, False), (1500, True)):
        eye, step = torch.eye(n).double(), torch.eye(n).double()[1:] - torch.eye(n).double()[:-1]
        q = torch.linspace(-1, 1, n).double() * torch.arange(n)
        called.clear()
        found = solve_qp(eye.to_sparse(), q, step.to_sparse_csr(), torch.full((n - 1,), 0.5).double())
        assert bool(called) is sparse
        assert found.residuals.largest < 1e-12


def test_memory_is_asked_for_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2.0**31)
    size = 40_000
    place = torch.arange(size).expand(2, -1)
    eye = torch.sparse_coo_tensor(place, torch.ones(size).double(), (size, size))
    with pytest.raises(
        ProblemError, match=r"would take 35\.8 GiB \(38400000000 bytes\), of which 2\.0 are there"
    ):
        solve_qp(eye, torch.ones(size).double(), solver="native")
