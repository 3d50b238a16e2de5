"""One matrix of tests over both of our engines: what ``solver="auto"`` takes is each of them in turn."""

import pytest

from layers.native import cone as native_cones
from layers.native import qp as native
from layers.qp import engines

OURS = {"native": engines.answer_natively, "interior_point": engines.answer_in_torch}


@pytest.fixture(autouse=True, params=list(OURS))
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``"auto"`` mean one engine and its own derivative."""
    if request.param == "native" and native.unavailable():
        pytest.skip(str(native.unavailable()))
    monkeypatch.setitem(engines.ENGINES, "auto", OURS[request.param])
    if request.param == "interior_point":
        monkeypatch.setattr(native, "suits", lambda tensor: False)
        monkeypatch.setattr(native, "plain", lambda tensors: False)
        monkeypatch.setattr(native_cones, "MOST_WORK", -1)
