"""What the core and Python call by one name is one value, and a core that disagrees is not taken."""

from types import ModuleType

import pytest

from layers import Status
from layers.native import constants
from layers.native import qp as native
from layers.qp.adjoints import implicit


def _core(**changed: object) -> ModuleType:
    core = ModuleType("layers.native._core")
    core.CONSTANTS = constants.SHARED | changed
    return core


def test_every_value_of_the_core_is_that_of_python() -> None:
    assert native.core().CONSTANTS == constants.SHARED


def test_no_two_statuses_and_no_two_activities_share_a_value() -> None:
    for values in (
        (constants.LEFT, constants.SUSPECT, *Status),
        (constants.UNCLEAR, constants.INACTIVE, constants.ACTIVE, implicit.WEAK),
    ):
        assert len({int(value) for value in values}) == len(values)


@pytest.mark.parametrize("name", constants.SHARED)
def test_a_core_of_other_sources_is_refused_by_the_name_of_what_differs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lacks a value, one that has another, one that has one more; and one from before there were any."""
    lacking = _core()
    del lacking.CONSTANTS[name]
    for core in (_core(**{name: "another"}), lacking, _core(**{f"{name}_TOO": 1})):
        monkeypatch.setattr(native, "import_module", lambda _, core=core: core)
        loaded, reason = native._load()
        assert loaded is None
        assert reason is not None
        assert name in reason
        assert "make setup" in reason
    monkeypatch.setattr(native, "import_module", lambda _: ModuleType("layers.native._core"))
    assert native._load()[0] is None
    right = _core()
    monkeypatch.setattr(native, "import_module", lambda _: right)
    assert native._load() == (right, None)
