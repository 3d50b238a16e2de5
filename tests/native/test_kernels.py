"""Every instruction set, number of threads and place in a batch gives the same answer."""

import itertools
import json
import os

import numpy as np
import pytest
from numpy.typing import NDArray

from layers import solve_qp
from layers.native import _core
from tests.layers.instances import assert_close, random_qp
from tests.native.conftest import Child

#: one program for all instruction sets: sizes around the width of every register, full and partial groups, one and two
#: threads; it takes the core alone, without torch, and leaves its answers in a file
PROGRAM = """
import json, sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
import numpy as np

path, out = sys.argv[1:]
spec = spec_from_file_location("_core", path, loader=ExtensionFileLoader("_core", path))
core = module_from_spec(spec)
spec.loader.exec_module(core)
rng, answers, statuses = np.random.default_rng(0), {}, []
sizes = [(1, 1, 0), (2, 3, 1), (3, 9, 0), (5, 7, 2), (8, 8, 4), (9, 17, 1), (16, 33, 3), (31, 30, 10), (120, 90, 7)]
for n, m, p in sizes:
    for B in (1, 2, 7, 8, 9, 17):
        root, G, A = (rng.normal(size=(B, k, n)) for k in (n, m, p))
        z, nu, size = rng.normal(size=(B, n)), rng.normal(size=(B, p)), rng.uniform(0.5, 1.5, size=(B, m))
        on = np.arange(m) < min((m + 1) // 2, n - p - 1)
        lam = np.where(on, size, 0.0)
        Q = root @ root.swapaxes(-1, -2) / n + 0.5 * np.eye(n)
        q = -(np.einsum("bij,bj->bi", Q, z) + np.einsum("bij,bi->bj", G, lam) + np.einsum("bij,bi->bj", A, nu))
        h, b = np.einsum("bij,bj->bi", G, z) + np.where(on, 0.0, size), np.einsum("bij,bj->bi", A, z)
        data, r = (Q, q, G, h, A, b), [rng.normal(size=v.shape) for v in (z, lam, nu)]
        runs = [core.solve(*data, B, 1e-8, 1e-9, 100, threads, None).arrays() for threads in (1, 2)]
        assert all(np.array_equal(x, y) for x, y in zip(*runs)), ("threads", n, B)
        kind, status = runs[0][6:8]
        derivatives = [core.solve_linearised(Q, G, A, kind, status, *r, True, threads) for threads in (1, 2)]
        assert all(np.array_equal(x, y) for x, y in zip(*derivatives)), ("threads", n, B)
        statuses.append(status.tolist())
        found = (*runs[0][:5], kind, *derivatives[0][:3])
        answers |= {f"{n},{B},{i}": v for i, v in enumerate(found)} | {f"{n},{B},z": z}
np.savez(out, **answers)
print(json.dumps([core.lanes(), statuses]))
"""


Answers = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def by_lanes(child: Child, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Answers]:
    """The answers of every instruction set that this processor has, by its lanes."""
    folder, found = tmp_path_factory.mktemp("lanes"), {}
    for asked in (2, 4, 8):
        file = folder / f"{asked}.npz"
        lanes, statuses = json.loads(
            child(PROGRAM, _core.__file__, str(file), CONVEX_LAYERS_LANES=str(asked))
        )
        assert lanes <= asked
        assert not any(itertools.chain(*statuses)), "not solved"
        found[lanes] = dict(np.load(file))
    return found


def test_the_widest_instruction_set_is_taken_unless_a_narrower_one_is_asked_for(by_lanes) -> None:
    assert 2 in by_lanes
    asked = int(os.environ.get("CONVEX_LAYERS_LANES", "8"))
    assert _core.lanes() == max(lanes for lanes in by_lanes if lanes <= asked)


def test_every_instruction_set_gives_the_same_answers(by_lanes) -> None:
    reference = by_lanes[2]
    for lanes, answers in by_lanes.items():
        assert answers.keys() == reference.keys()
        for name, value in answers.items():
            scale = np.abs(reference[name]).max(initial=1e-3)
            assert np.abs(value - reference[name]).max(initial=0.0) <= 1e-12 * scale, (lanes, name)


def test_the_answers_are_the_solutions_that_the_problems_were_made_from(by_lanes) -> None:
    for answers in by_lanes.values():
        for name in (name for name in answers if name.endswith(",z")):
            found = answers[name.replace(",z", ",0")]
            assert np.abs(found - answers[name]).max() <= 1e-11 * np.abs(answers[name]).max(), name


@pytest.mark.parametrize("batch", [3, 8, 13])
def test_an_element_does_not_feel_its_neighbours(rng, batch: int) -> None:
    data = random_qp(rng, 7, 12, 2, batch=(batch,))
    whole = solve_qp(*data, solver="native")
    for i in range(batch):
        # a pair, so that it is the same kernel
        pair = solve_qp(*(t[[i, i]] for t in data), solver="native")
        alone = solve_qp(*(t[i] for t in data), solver="native")
        for name in ("z", "lam", "nu", "objective"):
            value = getattr(whole, name)[i]
            assert_close(getattr(pair, name)[0], value, 1e-13, name)
            assert_close(getattr(alone, name), value, 1e-12, name)


def test_what_is_shared_is_answered_as_what_is_copied(rng) -> None:
    _, q, _, h, _, b = random_qp(rng, 6, 9, 2, batch=(11,))
    Q, _, G, _, A, _ = random_qp(rng, 6, 9, 2)
    h, b = h.abs() + 1, 0.1 * b
    copied = [M.repeat(11, 1, 1) for M in (Q, G, A)]
    expected = solve_qp(copied[0], q, copied[1], h, copied[2], b, solver="native")
    for shared in range(1, 8):
        matrices = [M if shared >> i & 1 else copied[i] for i, M in enumerate((Q, G, A))]
        found = solve_qp(matrices[0], q, matrices[1], h, matrices[2], b, solver="native")
        for name in ("z", "lam", "nu"):
            assert_close(getattr(found, name), getattr(expected, name), 1e-12, name)
