"""One matrix of tests over both of our engines: what ``solver="auto"`` takes is each of them in turn."""

import pytest

from layers import answer, compiled, compiled_cones

OURS = {"native": answer.answer_natively, "interior_point": answer.answer_in_torch}


@pytest.fixture(autouse=True, params=list(OURS))
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``"auto"`` mean one engine and its own derivative."""
    if request.param == "native" and compiled.unavailable():
        pytest.skip(str(compiled.unavailable()))
    monkeypatch.setitem(answer.ENGINES, "auto", OURS[request.param])
    if request.param == "interior_point":
        monkeypatch.setattr(compiled, "suits", lambda *tensors: False)
        monkeypatch.setattr(compiled_cones, "MOST_WORK", -1)
