"""No array reaches the core unless dtype, layout and shape are right: each wrong one is refused by its name."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from layers import UnavailableError, solve_qp
from layers.native import _core
from tests.layers.instances import NAMES, random_qp

Array = NDArray[np.generic]

B, N, M, P = 3, 4, 5, 2
GUESS = ("z", "lam", "nu", "s")
SYSTEM = ("Q", "G", "A", "kind", "status", "r_z", "r_lam", "r_nu")
GRADIENTS = ("Q", "G", "A", "cotangent of z", "cotangent of lam", "cotangent of nu")


def misaligned(a: Array) -> Array:
    """The same numbers at an address that no number of this type may have."""
    moved = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


WRONG_KIND: dict[str, tuple[Callable[[Array], Array], type[Exception]]] = {
    "single": (lambda a: a.astype(np.float32), TypeError),
    "swapped": (lambda a: a.astype(a.dtype.newbyteorder()), TypeError),
    "objects": (lambda a: a.astype(object), TypeError),
    "reversed": (lambda a: a[::-1], ValueError),
    "strided": (lambda a: np.repeat(a, 2, axis=-1)[..., ::2], ValueError),
    "misaligned": (misaligned, ValueError),
}
WRONG_SHAPE: dict[str, Callable[[Array], Array]] = {
    "one more in the batch": lambda a: np.concatenate([a, a[:1]]),
    "one less at the end": lambda a: np.ascontiguousarray(a[..., :-1]),
    "one axis more": lambda a: a[None],
    "nothing at the end": lambda a: np.ascontiguousarray(a[..., :0]),
    "no axes": lambda a: np.ones((), a.dtype),
}


@pytest.fixture
def problem(rng) -> dict[str, Array]:
    return dict(zip(NAMES, (t.numpy() for t in random_qp(rng, N, M, P, batch=(B,))), strict=True))


@pytest.fixture
def system(rng, problem) -> dict[str, Array]:
    r = {"r_z": rng.normal(size=(B, N)), "r_lam": rng.normal(size=(B, M)), "r_nu": rng.normal(size=(B, P))}
    own = {"kind": np.zeros((B, M), np.int8), "status": np.zeros(B, np.int64)}
    return {name: problem[name] for name in ("Q", "G", "A")} | own | r


@pytest.fixture
def gradients(rng, problem) -> dict[str, Array]:
    parts = [rng.normal(size=(B, size)) for size in (N, M, P)]
    return {name: problem[name] for name in ("Q", "G", "A")} | dict(zip(GRADIENTS[3:], parts, strict=True))


def handle(problem: dict[str, Array], batch: int | None = B, threads: int = 1, guess: object = None):
    return _core.solve(*problem.values(), batch, 1e-8, 1e-9, 100, threads, guess)


def pull_back(solved, given: dict[str, Array | None], *wanted: bool) -> tuple[Array, ...]:
    matrices, vectors, largest = solved.pull_back(*given.values(), wanted or (True, True, True), 1, 1)
    return (*matrices, *vectors, largest)


def solve(
    problem: dict[str, Array], *, batch: int | None = B, threads: int = 1, guess: object = None
) -> Array:
    return handle(problem, batch, threads, guess).arrays()[7]


def guess() -> dict[str, Array]:
    return dict(zip(GUESS, (np.zeros((B, size)) for size in (N, M, P, M)), strict=True))


@pytest.mark.parametrize("kind", WRONG_KIND)
@pytest.mark.parametrize("name", NAMES)
def test_problem_of_a_wrong_dtype_or_layout(problem, name: str, kind: str) -> None:
    change, error = WRONG_KIND[kind]
    with pytest.raises(error, match=rf"^{name}\b"):
        solve(problem | {name: change(problem[name])})


@pytest.mark.parametrize("shape", WRONG_SHAPE)
@pytest.mark.parametrize("name", NAMES)
def test_problem_of_a_wrong_shape(problem, name: str, shape: str) -> None:
    # a vector decides on the sizes, so that the matrix beside it is what does not fit
    blamed = rf"{name}|{ {'q': 'Q', 'h': 'G', 'b': 'A'}.get(name, name) }"
    with pytest.raises(ValueError, match=rf"^({blamed}) has shape|^q, h and b must have|^sizes out of range"):
        solve(problem | {name: WRONG_SHAPE[shape](problem[name])})


@pytest.mark.parametrize("value", [None, [[1.0]], "Q", 3.0])
def test_what_is_no_array(problem, value: object) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        solve(problem | {"G": value})


@pytest.mark.parametrize("batch", [-1, 0, B - 1, B + 1, 10**12])
def test_batch_that_is_not_that_of_the_arrays(problem, batch: int) -> None:
    with pytest.raises(ValueError, match=r"^Q has shape \(3, 4, 4\)"):
        solve(problem, batch=batch)


@pytest.mark.parametrize("batch", [-1, 2**62])
def test_batch_that_cannot_be(problem, batch: int) -> None:
    with pytest.raises((ValueError, MemoryError)):
        solve({name: a[0].copy() for name, a in problem.items()}, batch=batch)


@pytest.mark.parametrize("kind", WRONG_KIND)
@pytest.mark.parametrize("name", GUESS)
def test_guess_of_a_wrong_dtype_or_layout(problem, name: str, kind: str) -> None:
    change, error = WRONG_KIND[kind]
    parts = guess()
    with pytest.raises(error, match=rf"^warm_start\.{name}\b"):
        solve(problem, guess=tuple((parts | {name: change(parts[name])}).values()))


@pytest.mark.parametrize("shape", WRONG_SHAPE)
@pytest.mark.parametrize("name", GUESS)
def test_guess_of_a_wrong_shape(problem, name: str, shape: str) -> None:
    parts = guess()
    with pytest.raises(ValueError, match=rf"^warm_start\.{name} has shape"):
        solve(problem, guess=tuple((parts | {name: WRONG_SHAPE[shape](parts[name])}).values()))


def test_guess_that_is_not_of_four(problem) -> None:
    with pytest.raises(ValueError, match="a guess consists of z, lam, nu and s"):
        solve(problem, guess=tuple(guess().values())[:3])


@pytest.mark.parametrize("threads", [-3, 0, 1, 1000])
def test_any_number_of_threads_will_do(problem, threads: int) -> None:
    assert (solve(problem, threads=threads) == 0).all()


def wrong_kinds(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Every name with every wrong kind; bytes, which `kind` consists of, have one order and no alignment."""
    return [(n, k) for n in names for k in WRONG_KIND if n != "kind" or k not in ("swapped", "misaligned")]


@pytest.mark.parametrize(("name", "kind"), wrong_kinds(SYSTEM))
def test_linear_system_of_a_wrong_dtype_or_layout(system, name: str, kind: str) -> None:
    change, error = WRONG_KIND[kind]
    with pytest.raises(error):
        _core.solve_linearised(*(system | {name: change(system[name])}).values(), True, 1)


@pytest.mark.parametrize("shape", WRONG_SHAPE)
@pytest.mark.parametrize("name", SYSTEM)
def test_linear_system_of_a_wrong_shape(system, name: str, shape: str) -> None:
    with pytest.raises(ValueError, match=r"has shape|must have at least one axis|out of range"):
        _core.solve_linearised(*(system | {name: WRONG_SHAPE[shape](system[name])}).values(), True, 1)


@pytest.mark.parametrize(("name", "kind"), wrong_kinds(GRADIENTS))
def test_gradients_from_a_wrong_dtype_or_layout(problem, gradients, name: str, kind: str) -> None:
    change, error = WRONG_KIND[kind]
    with pytest.raises(error):
        pull_back(handle(problem), gradients | {name: change(gradients[name])})


@pytest.mark.parametrize("shape", WRONG_SHAPE)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_from_a_wrong_shape(problem, gradients, name: str, shape: str) -> None:
    with pytest.raises(ValueError, match=r"has shape|must have at least one axis|out of range"):
        pull_back(handle(problem), gradients | {name: WRONG_SHAPE[shape](gradients[name])})


def test_gradients_are_those_of_the_linear_system(problem, gradients) -> None:
    solved = handle(problem)
    Q, G, A, *cotangents = gradients.values()
    z, lam, nu, _, _, _, kind, status, _ = solved.arrays()
    assert 0 < kind.sum() < kind.size
    d_z, d_lam, d_nu, *_ = _core.solve_linearised(Q, G, A, kind, status, *(-c for c in cotangents), True, 1)

    def outer(u: Array, v: Array) -> Array:
        return u[:, :, None] * v[:, None, :]

    expected = [
        *(0.5 * (outer(d_z, z) + outer(z, d_z)), outer(lam, d_z) + outer(d_lam, z)),
        *(outer(nu, d_z) + outer(d_nu, z), d_z, -d_lam, -d_nu),
    ]
    *found, largest = pull_back(solved, gradients)
    assert 0 < largest < 1e-14
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-14, atol=1e-15)
    without = pull_back(solved, gradients | {"cotangent of lam": None, "cotangent of nu": None})
    zeros = {"cotangent of lam": np.zeros((B, M)), "cotangent of nu": np.zeros((B, P))}
    for x, y in zip(without, pull_back(solved, gradients | zeros), strict=True):
        np.testing.assert_array_equal(x, y)
    assert [x is None for x in pull_back(solved, gradients, False, True, False)[:3]] == [True, False, True]


def test_what_is_fetched_is_a_copy(problem) -> None:
    solved = handle(problem)
    first = solved.z()
    expected = first.copy()
    first += 1.0
    np.testing.assert_array_equal(solved.z(), expected)
    np.testing.assert_array_equal(solved.arrays()[0], expected)


def test_a_handle_is_settled_where_every_element_is_solved(problem) -> None:
    assert handle(problem).settled
    contradicting = problem | {"G": np.zeros((B, M, N)), "h": -np.ones((B, M))}
    assert not handle(contradicting).settled


def test_a_problem_without_a_batch_is_answered_as_a_batch_of_one(problem, system, gradients) -> None:
    one, first = ({name: f(a) for name, a in problem.items()} for f in (lambda a: a[0], lambda a: a[:1]))
    alone = [
        *(solved := handle(one, None)).arrays(),
        *_core.solve_linearised(*(np.asarray(a[0]) for a in system.values()), True, 1),
        *pull_back(solved, {name: np.asarray(a[0]) for name, a in gradients.items()}),
    ]
    in_a_batch = [
        *(solved := handle(first, 1)).arrays(),
        *_core.solve_linearised(*(a[:1] for a in system.values()), True, 1),
        *pull_back(solved, {name: a[:1] for name, a in gradients.items()}),
    ]
    for x, y in zip(alone, in_a_batch, strict=True):
        assert np.shape(x) == np.shape(y)[1:]
        assert np.array_equal(x, y[0] if np.ndim(y) else y)


def test_arrays_with_a_batch_for_a_problem_without_one(problem, system) -> None:
    with pytest.raises(ValueError, match=r"^Q has shape \(3, 4, 4\)"):
        solve(problem, batch=None)
    with pytest.raises(ValueError, match=r"^\w+ has shape \(3, "):
        _core.solve_linearised(*(system | {"r_z": system["r_z"][0]}).values(), True, 1)


@pytest.mark.parametrize("kind", [-128, -1, 3, 127])
def test_an_activity_that_the_core_cannot_judge_is_told(system, kind: int) -> None:
    system["kind"][1, 2] = kind
    error = _core.solve_linearised(*system.values(), True, 1)[3]
    assert np.isinf(error).tolist() == [False, True, False]


def test_arguments_are_not_changed(problem) -> None:
    copies = {name: a.copy() for name, a in problem.items()}
    parts = guess()
    solve(problem, guess=tuple(parts.values()))
    assert all(np.array_equal(problem[name], copies[name]) for name in NAMES)
    assert not any(a.any() for a in parts.values())


def test_a_problem_beyond_the_sizes_of_the_core_goes_to_the_torch_engine() -> None:
    m = _core.LARGEST[1] + 1
    Q, q = torch.ones(1, 1, dtype=torch.float64), torch.full((1,), -2.0, dtype=torch.float64)
    G, h = torch.ones(m, 1, dtype=torch.float64), torch.linspace(1, 2, m, dtype=torch.float64)
    assert solve_qp(Q, q, G, h).z.item() == pytest.approx(1, abs=1e-9)
    with pytest.raises(UnavailableError, match=rf"up to \(20000, 100000, 20000\), .* has \(1, {m}, 0\)"):
        solve_qp(Q, q, G, h, solver="native")


def tensors(problem: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(a.copy()) for name, a in problem.items()}


def test_tensors_and_arrays_are_the_same_to_the_core(problem) -> None:
    np.testing.assert_array_equal(solve(tensors(problem)), solve(problem))


ODD_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "with a gradient": lambda t: t.clone().requires_grad_(),
    "transposed in memory": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "negated when read": lambda t: torch._neg_view(-t),
    "in the middle of a storage": lambda t: torch.cat([t.flatten()[:1], t.flatten()])[1:].reshape(t.shape),
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
@pytest.mark.parametrize("name", NAMES)
def test_tensor_of_another_layout_is_read_as_its_values(problem, name: str, kind: str) -> None:
    given = tensors(problem)
    np.testing.assert_array_equal(solve(given | {name: ODD_TENSORS[kind](given[name])}), solve(problem))


@pytest.mark.parametrize("name", NAMES)
def test_tensor_that_is_not_in_the_memory_of_the_host(problem, name: str) -> None:
    given = tensors(problem)
    with pytest.raises(ValueError, match="must be on the CPU"):
        solve(given | {name: given[name].to("meta")})


@pytest.mark.parametrize("name", NAMES)
def test_tensor_of_a_wrong_dtype_or_shape(problem, name: str) -> None:
    given = tensors(problem)
    with pytest.raises(TypeError, match=rf"^{name}\b"):
        solve(given | {name: given[name].float()})
    with pytest.raises(ValueError, match=r" has shape |^q, h and b must have|^sizes out of range"):
        solve(given | {name: given[name][None, None, None]})


def test_what_is_neither_an_array_nor_a_tensor_is_refused(problem) -> None:
    with pytest.raises(TypeError, match="expected an array or a tensor, found <class 'list'>"):
        solve(problem | {"q": problem["q"].tolist()})
