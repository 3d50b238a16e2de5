"""Long sparse solves: memory told before it is taken, a line about progress, interrupts, a batch over threads."""

from __future__ import annotations

import signal
import threading
from threading import Event
from typing import Any

import numpy as np
import pytest
import qdldl
import scipy.sparse as sp
import torch

from layers import ProblemError, solve_qp
from layers.cone import engines
from layers.linalg import fill, memory
from layers.linalg.fill import entries_in_band, entries_of_factor
from layers.linalg.threads import shared_out


@pytest.fixture(autouse=True)
def _engine() -> None:
    """One engine takes such programs: each test runs once."""


def factor_of(K: sp.csc_array) -> int:
    """Entries of the factor in the order that QDLDL takes."""
    size = K.shape[0]
    regular = sp.csc_matrix(sp.triu(K + size * sp.eye_array(size), format="csc"))
    return qdldl.Solver(regular, upper=True).factors()[0].nnz


def test_fill_is_told_exactly_where_it_is_known():
    n = 200
    arrow = sp.lil_array((n, n))
    arrow[0], arrow[:, 0] = 1.0, np.ones((n, 1))
    assert entries_of_factor(arrow.tocsc()) == n - 1
    chain = sp.diags_array([np.ones(n - 1), np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1])
    assert n - 1 <= entries_of_factor(chain) <= 2 * n
    assert entries_of_factor(sp.csc_array(np.ones((n, n)))) == n * (n - 1) / 2
    assert entries_of_factor(sp.eye_array(n)) == 0


def test_a_path_is_counted_in_few_rounds(monkeypatch: pytest.MonkeyPatch):
    rounds: list[int] = []
    found = fill._independent
    monkeypatch.setattr(fill, "_independent", lambda *given: rounds.append(1) or found(*given))
    n = 4000
    assert (
        n - 1 <= entries_of_factor(sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1])) <= 2 * n
    )
    assert len(rounds) < 40


@pytest.mark.parametrize("kind", ["grid", "random"])
def test_fill_is_about_that_of_the_factorisation(kind: str):
    if kind == "grid":
        path = sp.diags_array([np.ones(39), np.ones(39)], offsets=[-1, 1], shape=(40, 40))
        K = sp.kron(path, sp.eye_array(40)) + sp.kron(sp.eye_array(40), path)
    else:
        half = sp.random_array((900, 900), density=2e-3, rng=np.random.default_rng(0))
        K = half + half.T
    assert 0.7 < entries_of_factor(K) / factor_of(sp.csc_array(K)) < 2.0


def test_a_band_is_told_at_once() -> None:
    """Its columns have alike counts but at its ends, where one after the other had the least."""
    n, width = 20_000, 6
    band = sp.diags_array([np.ones(n - k) for k in range(width + 1)], offsets=list(range(width + 1))).tocsr()
    band = sp.csr_array(band + band.T)
    shuffled = np.random.default_rng(0).permutation(n)
    exact = n * width - width * (width + 1) / 2
    assert entries_in_band(band[shuffled][:, shuffled]) == exact
    assert exact <= entries_of_factor(band) <= 3 * exact
    assert entries_in_band(sp.csr_array(np.ones((50, 50)))) == 50 * 49 / 2
    assert entries_in_band(sp.eye_array(50)) == 0


def chain(n: int) -> tuple[torch.Tensor, ...]:
    """A signal that is not to rise, sparse."""
    i = torch.arange(n - 1)
    places = torch.stack([i.repeat(2), torch.cat([i, i + 1])])
    step = torch.sparse_coo_tensor(
        places, torch.cat([-torch.ones(n - 1), torch.ones(n - 1)]).double(), (n - 1, n)
    )
    eye = torch.sparse_coo_tensor(torch.arange(n).expand(2, -1), torch.ones(n).double(), (n, n))
    q = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return eye, q, step, torch.zeros(n - 1, dtype=torch.float64)


def test_a_factor_that_does_not_fit_is_told_with_its_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2.0**20)
    monkeypatch.setattr(memory, "GIBIBYTE", 2.0**19)
    path = sp.diags_array([np.ones(59), np.ones(59)], offsets=[-1, 1], shape=(60, 60))
    eye = sp.eye_array(60)
    Q = (4.1 * sp.kron(eye, eye) - sp.kron(path, eye) - sp.kron(eye, path)).tocoo()
    given = torch.sparse_coo_tensor(np.stack(Q.coords), Q.data, Q.shape)
    with pytest.raises(
        ProblemError, match=r"sparse conditions of optimality, 3600 equations, would take .* bytes"
    ):
        solve_qp(given, torch.ones(3600).double())
    assert solve_qp(*chain(6001)).residuals.largest < 1e-10  # it fills nothing


def test_progress_is_one_line_and_nothing_without_being_asked(capsys: pytest.CaptureFixture[str]):
    data = chain(6002)
    solve_qp(*data)
    assert capsys.readouterr() == ("", "")
    solve_qp(*data, verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "iteration" in err
    assert "1 done" in err.split("\r")[-1]


def test_an_interrupt_ends_a_solve_at_its_next_iteration(monkeypatch: pytest.MonkeyPatch):
    stopped: list[int] = []

    def told(progress: object, i: int, info: Any) -> bool:
        stopped.append(info.iterations)
        if len(stopped) == 2:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if len(stopped) > 1:
            Event().wait(0.5)  # the thread that waits sees it and says stop
        return False

    monkeypatch.setattr(engines, "_told", told)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            solve_qp(*chain(6003))
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped[:2] == [0, 1]
    assert len(stopped) < 6  # of 19


def test_a_batch_is_shared_out_in_order_and_its_errors_come_through():
    where: set[int] = set()

    def work(stop: Event, i: int) -> int:
        where.add(threading.get_ident())
        if i == 7:
            raise ArithmeticError("seven")
        return i * i

    assert shared_out(work, 5, 3) == [0, 1, 4, 9, 16]
    assert threading.get_ident() not in where
    where.clear()
    assert shared_out(work, 5, 1) == [0, 1, 4, 9, 16]
    assert where == {threading.get_ident()}
    with pytest.raises(ArithmeticError, match="seven"):
        shared_out(work, 9, 2)


def test_threads_change_no_digit_of_a_batch():
    Q, q, G, h = chain(1500)
    many = torch.stack([q, 2 * q, q.flip(0)])
    found: list[torch.Tensor] = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            own = many.clone().requires_grad_()
            z = solve_qp(Q, own, G, h).z
            found += [z.detach(), torch.autograd.grad(z.sin().sum(), own)[0]]
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
