"""A release says one version, and the same of itself, everywhere."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import layers

ROOT = Path(__file__).resolve().parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
ZENODO = json.loads((ROOT / ".zenodo.json").read_text("utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
RELEASED = re.findall(r"^## (\d+\.\d+\.\d+)\b", CHANGELOG, re.MULTILINE)


def test_the_archive_is_told_what_the_citation_says():
    assert ZENODO["title"] == CITATION["title"]
    assert ZENODO["description"] == CITATION["abstract"].strip()
    assert ZENODO["license"] == CITATION["license"]
    assert ZENODO["keywords"] == CITATION["keywords"]
    assert [each["name"] for each in ZENODO["creators"]] == [each["name"] for each in CITATION["authors"]]
    (survey,) = CITATION["preferred-citation"]["identifiers"]
    assert [each["identifier"] for each in ZENODO["related_identifiers"]] == [survey["value"]]


def test_the_archive_takes_the_version_from_the_tag():
    assert "version" not in ZENODO


def test_versions_are_three_numbers_and_the_changelog_has_them_newest_first():
    numbers = [tuple(map(int, version.split("."))) for version in [layers.__version__, *RELEASED]]
    assert numbers[1:] == sorted(set(numbers[1:]), reverse=True)
    # The version in the code is that of the newest entry, or of the release that is being made.
    assert numbers[0] >= max(numbers[1:], default=numbers[0])


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this tree is not a git checkout, so it has no tags")
    return done.stdout.splitlines()


def test_every_tag_is_a_version_with_an_entry_in_the_changelog_and_stands_on_that_version():
    for tag in _git("tag", "--list", "v*"):
        version = tag.removeprefix("v")
        assert version in RELEASED, f"CHANGELOG.md has no entry for the tag {tag}"
        (line,) = [
            line for line in _git("show", f"{tag}:layers/__init__.py") if line.startswith("__version__ = ")
        ]
        assert line == f'__version__ = "{version}"'
