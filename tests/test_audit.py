"""scripts/audit.py sees what it is there for."""

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("audit", Path(__file__).parent.parent / "scripts" / "audit.py")
assert _SPEC
assert _SPEC.loader
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)


class Installed:
    """A distribution, as far as it is looked at."""

    def __init__(self, name: str, version: str, **about: str | list[str]):
        self.version = version
        self.metadata = About({"Name": name} | {key.replace("_", "-"): value for key, value in about.items()})


class About(dict):
    def get_all(self, name: str) -> list[str]:
        return self.get(name) or []


def test_nothing_is_wrong_with_what_we_depend_on():
    assert audit.audit() == []


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"License_Expression": "MPL-2.0 AND (Apache-2.0 OR MIT)"}, {"MPL-2.0", "Apache-2.0", "MIT"}),
        ({"Classifier": ["License :: OSI Approved :: MIT License"]}, {"MIT"}),
        ({"License": "Apache 2"}, {"Apache-2.0"}),
        ({"License": "GPLv3"}, {"GPLv3"}),
        ({}, set()),
    ],
)
def test_licences_are_read_from_where_they_are_said(about: dict, said: set[str]):
    assert audit.licences(Installed("x", "1", **about)) == said


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        (Installed("x", "1", License_Expression="MIT"), []),
        (Installed("x", "2", License_Expression="MIT"), ["x 2 is installed, but constraints.txt says 1."]),
        (Installed("x", "1", License_Expression="AGPL-3.0-only"), ["x 1 is under AGPL-3.0-only: not allowed here."]),
        (Installed("x", "1"), ["x 1 is under no licence that it names: not allowed here."]),
        (Installed("y", "1", License_Expression="MIT"), ["y 1 is installed, but constraints.txt says nothing."]),
    ],
)
def test_what_is_installed_is_judged(installed: Installed, told: list[str]):
    assert audit.judge(installed, {"x": {"1"}}) == told


def test_a_version_that_was_withdrawn_is_named():
    (told,) = audit.judge(Installed("click", "8.2.2", License="BSD"), {"click": {"8.2.2"}})
    assert told.startswith("click 8.2.2 was withdrawn")


def test_all_that_is_not_exact_is_named():
    project = {
        "project": {"dependencies": ["a==1"], "optional-dependencies": {"x": ["b~=1"]}},
        "dependency-groups": {"dev": ["c"]},
        "build-system": {"requires": ["d>=1"]},
    }
    assert [told.split()[0] for told in audit.unpinned(project)] == ["b~=1", "c", "d>=1"]
