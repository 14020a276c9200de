"""Jars by Maven coordinate, fetched once and shared by every home on this machine."""

import os
import shutil
import ssl
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runway_streams.errors import DependencyDown

PARALLEL = 4
REQUEST_TIMEOUT_S = 30

Say = Callable[[str], None]


def cache_dir() -> Path:
    """Where the jars are kept: below XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "runway" / "jars"


def fetch_jars(coordinates: Sequence[str], cache: Path, say: Say, megabytes: int) -> list[Path]:
    """The jars of the coordinates and of all that they need at run time, from the cache or the Maven registry; people are
    told how much that is.

    A folder in the cache is complete or absent: jars are fetched aside and the folder renamed at the end, so that a
    process killed half-way, or two that fetch at once, leave nothing broken.
    """
    folder = cache / "+".join(coordinate.split(":", 1)[1].replace(":", "-") for coordinate in coordinates)
    if not folder.exists():
        say(f"Fetching the jars of {coordinates[0]}, once for this machine (about {megabytes} MB) ...")
        aside = cache / f"{folder.name}.{os.getpid()}.part"
        try:
            _fetch(coordinates, aside, say)
            _publish(aside / "jars", folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return sorted(folder.glob("*.jar"))


def _fetch(coordinates: Sequence[str], aside: Path, say: Say) -> None:
    (aside / "jars").mkdir(parents=True)
    try:
        with _system_certificates():
            artifacts = _resolve(coordinates, aside / "repository")
            with ThreadPoolExecutor(PARALLEL) as pool:
                for number, jar in enumerate(pool.map(lambda artifact: artifact.resolve(), artifacts), start=1):
                    _check_jar(jar)
                    jar.rename(aside / "jars" / jar.name)
                    if number % 10 == 0 or number == len(artifacts):
                        say(f"  {number} of {len(artifacts)} jars")
    except (OSError, RuntimeError, ValueError) as error:
        raise DependencyDown(
            f"The jars of {coordinates[0]} could not be fetched from the Maven registry: {error}.",
            "Check the network and run this again.",
        ) from error


def _resolve(coordinates: Sequence[str], repository: Path) -> list[Any]:
    from jgo.maven import MavenContext
    from jgo.parse import Endpoint

    # Not jgo.build: it sorts jars into modules, which needs a JDK of its own and Kafka does not want.
    context = MavenContext(repo_cache=repository, timeout=REQUEST_TIMEOUT_S)
    artifacts: dict[tuple[str, str], Any] = {}
    # One after the other, the first one's versions win: resolved together, either's version rules change the other's.
    for coordinate in coordinates:
        wanted = replace(Endpoint.parse(coordinate).coordinates[0], scope="compile")
        direct, transitive = context.resolver.resolve([context.create_dependency(wanted)])
        needed = [*direct, *(found for found in transitive if found.scope in ("compile", "runtime"))]
        for artifact in (dependency.artifact for dependency in needed if dependency.type != "pom"):  # which holds no classes
            artifacts.setdefault((artifact.groupId, artifact.artifactId), artifact)
    return list(artifacts.values())


def _check_jar(jar: Path) -> None:
    # The end of a zip file is its directory: a jar that was cut off has none.
    if not zipfile.is_zipfile(jar):
        raise ValueError(f"{jar.name} arrived incomplete")


def _publish(jars: Path, folder: Path) -> None:
    try:
        jars.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was first, with the same jars
            raise


@contextmanager
def _system_certificates() -> Iterator[None]:
    """Trust what this machine trusts (a company's own root, say) while jgo downloads: it knows only a bundled list."""
    variable = "REQUESTS_CA_BUNDLE"
    bundle = _system_bundle()
    if bundle is None or variable in os.environ or "CURL_CA_BUNDLE" in os.environ:
        yield
        return
    os.environ[variable] = bundle
    try:
        yield
    finally:
        del os.environ[variable]


def _system_bundle() -> str | None:
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    if paths.capath and any(Path(paths.capath).glob("*.0")):
        return paths.capath
    return None
