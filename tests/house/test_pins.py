"""pyproject.toml, requirements.lock, environment.yml, Makefile and the installed packages agree."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from setuptools import find_packages

import layers
from tools.pins import disagreements, read_lock

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = read_lock((ROOT / "requirements.lock").read_text("utf-8").splitlines())
ALONE = {"qpth": "0.0.18", "skfolio": "1.12.2"}
EXTRAS = PROJECT["optional-dependencies"]
# For who has a cluster, or a TensorBoard: no run of ours needs them, so the environment does without.
LEFT_OUT = ("cluster", "tensorboard")
LINES = [*PROJECT["dependencies"], *(line for group in EXTRAS.values() for line in group)]
DIRECT = [
    Requirement(line)
    for line in [
        *PROJECT["dependencies"],
        *(x for n, group in EXTRAS.items() if n not in LEFT_OUT for x in group),
    ]
]


def _asked_for_by(requirement: Requirement) -> list[Requirement]:
    """Return what the installed package asks for on this platform, given the extras of ``requirement``."""
    asked = [Requirement(line) for line in distribution(requirement.name).requires or []]
    extras = requirement.extras or {""}
    return [
        r for r in asked if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def _is_cuda(requirement: Requirement) -> bool:
    return re.match(r"nvidia-|cuda-|triton$", requirement.name) is not None


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda r: r.name)
def test_lock_pins_every_direct_requirement_within_its_bounds(requirement: Requirement):
    version = LOCK.get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is missing from requirements.lock"
    assert requirement.specifier.contains(version)


def test_lock_pins_everything_that_the_direct_requirements_pull_in():
    pulled_in: set[str] = set()
    pending = list(DIRECT)
    seen: set[str] = set()
    while pending:
        requirement = pending.pop()
        if str(requirement) in seen or _is_cuda(requirement):
            continue
        seen.add(str(requirement))
        pulled_in.add(canonicalize_name(requirement.name))
        pending.extend(_asked_for_by(requirement))
    assert pulled_in <= set(LOCK)


def test_lock_pins_nothing_that_nobody_asks_for():
    asked = {canonicalize_name(requirement.name) for requirement in DIRECT}
    for name in LOCK:
        asked |= {canonicalize_name(Requirement(line).name) for line in distribution(name).requires or []}
    assert set(LOCK) <= asked


@pytest.mark.parametrize("extra", LEFT_OUT)
def test_what_the_environment_leaves_out_has_an_exact_version(extra: str):
    for requirement in map(Requirement, EXTRAS[extra]):
        assert [spec.operator for spec in requirement.specifier] == ["=="]
        assert canonicalize_name(requirement.name) not in LOCK


def test_every_direct_requirement_gives_its_reason():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for line in LINES:
        assert re.search(rf'"{re.escape(line)}",  # \S', text), f"say beside {line} why it is needed"


def test_installed_packages_stand_at_their_pins():
    assert disagreements(LOCK | ALONE) == []


def test_a_wrong_version_and_a_missing_package_are_told():
    told = disagreements({"numpy": "0.1", "no-such-package-of-ours": "1.0"})
    assert len(told) == 2
    assert "numpy: 0.1 is pinned" in told[0]
    assert "nothing is installed" in told[1]


def test_conda_users_get_the_lock_and_a_python_that_the_project_accepts():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *plain, pip_section = environment["dependencies"]
    assert pip_section == {"pip": ["-r requirements.lock"]}
    assert environment["channels"] == ["conda-forge"]
    assert {"pip", "make", "cxx-compiler"} <= set(plain)
    (python,) = [line.removeprefix("python=") for line in plain if line.startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


@pytest.mark.parametrize("name", ALONE)
def test_packages_that_go_in_alone_are_pinned_and_not_in_the_lock(name: str):
    assert f" {name}=={ALONE[name]}" in (ROOT / "Makefile").read_text("utf-8")
    assert name not in LOCK


def test_packages_that_go_in_alone_bring_no_declared_dependencies():
    setup = (ROOT / "tools" / "setup.sh").read_text("utf-8")
    (line,) = [line for line in setup.splitlines() if "alone[@]" in line and "pip install" in line]
    assert "--no-deps" in line


def test_versions_that_lose_constraints_are_shut_out():
    # cvxpylayers 1.2.0 with its MOREAU engine drops direct cone constraints under cvxpy 1.9.3.
    with_peers = [Requirement(line) for line in EXTRAS["peers"]]
    (cvxpy,) = [r for r in with_peers if r.name == "cvxpy"]
    assert not cvxpy.specifier.contains("1.9.3")
    assert any(r.name == "cvxpylayers" for r in with_peers)


def test_the_library_asks_for_ranges_and_for_nothing_that_it_does_not_import():
    needed = [Requirement(line) for line in PROJECT["dependencies"]]
    assert {r.name for r in needed} == {
        "torch",
        "numpy",
        "scipy",
        "qdldl",
        "threadpoolctl",
        "cvxpy",
        "clarabel",
    }
    assert not any(spec.operator == "==" for r in needed for spec in r.specifier)
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "layers").rglob("*.py"))
    imported = set(re.findall(r"^ *(?:import|from) (\w+)", text, re.MULTILINE))
    assert {r.name for r in needed} <= imported
    stray = {"hydra", "pandas", "seaborn", "matplotlib", "rich", "sklearn", "pywt", "omegaconf"}
    assert imported & stray == set()


def test_one_version_everywhere():
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert layers.__version__ == citation["version"] == distribution("differentiable-convex-layers").version


def test_the_wheel_holds_the_library_alone():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    found = find_packages(where=str(ROOT), include=settings["packages"]["find"]["include"])
    assert {name.split(".")[0] for name in found} == {"layers"}
    folders = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("layers/**/*.py")
    }
    assert folders <= set(found)
