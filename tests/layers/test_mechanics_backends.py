"""Third-party layers and engines in the modes of PyTorch that they do not think of themselves."""

from collections.abc import Callable

import pytest

from layers import QPLayer
from layers.backends import BACKENDS
from tests.layers.mechanics.modes import MODES
from tests.layers.mechanics.processes import PROCESSES
from tests.layers.mechanics.programs import Ball, Example, Exponential, OfQPLayer

TRIED = {
    name: MODES[name]
    for name in ("inference_mode, then training", "made in inference_mode", "default device")
}
TRIED |= {name: PROCESSES[name] for name in ("fork", "fork of a fork")}


@pytest.fixture(autouse=True)
def _engine() -> None:
    """In place of the matrix of both engines: neither of them is asked."""


def example_of(backend: str) -> Callable[[], Example]:
    """The quadratic program by a whole third-party layer, with its accuracy."""
    reason = BACKENDS[backend].unavailable()
    if reason is not None:
        pytest.skip(reason)

    class Theirs(OfQPLayer):
        def make(self, on_failure: str) -> QPLayer:
            return QPLayer(solver=backend, tol=1e-9, on_failure=on_failure)

    return Theirs


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_answer_under_every_mode(backend: str, tried: str) -> None:
    TRIED[tried](example_of(backend))


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("example", [Ball, Exponential])
@pytest.mark.parametrize("solver", ["clarabel", "moreau", "diffcp"])
def test_conic_engines_answer_under_every_mode(solver: str, example: type[Example], tried: str) -> None:
    pytest.importorskip(solver)

    TRIED[tried](type("Theirs", (example,), {"solver": solver}))
