"""The real thing to measure: `metering serve` over an embedded PostgreSQL with the product's own settings.

Both live in a private home that is removed afterwards; fsync is on. `noop_server` is the same HTTP server
with nothing behind it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database, migrate
from metering.storage.embedded import EmbeddedServer
from tests.bench.measuring import Say
from tests.bench.turns import ROOT

ACCOUNTS = 10_000
_START_SECONDS = 60
_LAST_WORDS = 2_000
_OPEN_ACCOUNTS = """
    WITH opened AS (
        INSERT INTO accounts (account_id, name, created_at)
        SELECT gen_random_uuid(), 'Account ' || number, now() FROM generate_series(1, %s) AS number
        RETURNING account_id
    )
    INSERT INTO balances (account_id) SELECT account_id FROM opened RETURNING account_id::text
"""


class Stage(NamedTuple):
    """A migrated database with accounts and a token; `url` is its owner's, a superuser."""

    home: Path
    url: str
    token: str
    accounts: Sequence[str]
    postgres: psutil.Process
    version: str


class Server(NamedTuple):
    """A server process that answers on the port."""

    port: int
    process: psutil.Process


@contextmanager
def stage(say: Say) -> Iterator[Stage]:
    """A database as `metering up` would make it, with accounts, in a home of its own."""
    home = Path(tempfile.mkdtemp(prefix="metering-bench-"))
    home.chmod(0o755)  # as root, PostgreSQL's user must get through it
    embedded = EmbeddedServer(home)
    try:
        say("making a database")
        url = embedded.ensure()
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            accounts = [row[0] for row in connection.execute(_OPEN_ACCOUNTS, [ACCOUNTS])]
            version = _one(connection, "SHOW server_version")
        database = Database(url)
        _, token = create_service_token(database, name="bench", scopes=[Scope.USAGE_WRITE, Scope.HOLDS_WRITE])
        database.close()
        number = int((home / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        yield Stage(home, url, token, accounts, psutil.Process(number), version)
    finally:
        base = (home / "postgres").resolve()
        embedded.release()
        for directory in (base, home):
            shutil.rmtree(directory, ignore_errors=True)


def reset(stage: Stage) -> None:
    """Empty what ingest writes, so that every round begins alike."""
    with psycopg.connect(stage.url, autocommit=True) as connection:
        connection.execute("TRUNCATE usage_events, transfers, usage_rollups, grants, adjustments")
        connection.execute(
            "UPDATE balances SET posted_usd = 0, event_count = 0, transfer_count = 0 WHERE event_count > 0"
        )
        connection.execute("VACUUM (ANALYZE) balances")
    checkpoint(stage)


def checkpoint(stage: Stage) -> None:
    """Write out what was done before, so that it isn't written in the time of what comes next."""
    with psycopg.connect(stage.url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def count_events(stage: Stage) -> int:
    """How many events are recorded."""
    with psycopg.connect(stage.url) as connection:
        return int(_one(connection, "SELECT count(*) FROM usage_events"))


@contextmanager
def metering_server(stage: Stage) -> Iterator[Server]:
    """`metering serve` on a free port."""
    with _server(["-m", "metering", "serve"], "/readyz", {"METERING_HOME": str(stage.home)}) as server:
        yield server


@contextmanager
def noop_server() -> Iterator[Server]:
    """The server of `noop.py` on a free port."""
    with _server(["-m", "tests.bench.noop"], "/healthz", {}) as server:
        yield server


@contextmanager
def _server(command: Sequence[str], ready: str, settings: dict[str, str]) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("METERING_")}
    environment |= {**settings, "METERING_PORT": str(port), "METERING_LOG_LEVEL": "WARNING"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            _wait_for(process, port, ready)
            yield Server(port, psutil.Process(process.pid))
        except RuntimeError as error:
            log.seek(0)
            said = log.read()[-_LAST_WORDS:].decode(errors="replace")
            raise RuntimeError(f"{error}; it says:\n{said}") from error
        finally:
            process.terminate()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise RuntimeError("the server to measure did not start")


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that the process and its children, living and gone, have used."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _one(connection: psycopg.Connection[Any], query: str) -> Any:  # noqa: ANN401  (a database value)
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
