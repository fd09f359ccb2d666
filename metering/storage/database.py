"""Connections, transactions and the schema's version.

`Database.transaction` holds the only commit in the code base: what a use case wrote is on disk when its
block ends, or an error is raised. Errors that a caller can only wait out (no connection, a deadlock, a
lock or statement that took too long) leave this room as `Unavailable`; all others, such as a constraint
that COMMIT finds broken, as themselves.
"""

from __future__ import annotations

import json
import select
import time
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from metering.errors import ConfigurationError, MeteringError, Unavailable
from metering.storage.embedded import OLDEST_VERSION
from metering.storage.tables import SERVICE_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

_CONNECT_SECONDS: Final = 10
_MIGRATION_WAIT_SECONDS: Final = 60
_MIGRATION_LOCK: Final = 0x6D65746572  # the letters "meter"; advisory locks are per database
_LOCK_NOT_AVAILABLE: Final = "55P03"
_INSUFFICIENT_PRIVILEGE: Final = "42501"
_NO_ROLE: Final = (
    f"the database user may not act as the role {SERVICE_ROLE}: run `metering migrate`, "
    f"or as its owner `GRANT {SERVICE_ROLE} TO <user>`"
)


class Database:
    """A pool of connections to one PostgreSQL, for all threads of a process.

    Every connection acts as `role`, which may neither change nor delete what is append-only, even where
    `url` is the owner's. `reconnect` is called once when no connection can be made (the embedded server
    may have to be started again), and may answer a new URL; then the connection is tried once more.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        role: str | None = SERVICE_ROLE,
        reconnect: Callable[[], str | None] | None = None,
    ) -> None:
        self._url = plain_url(url)
        self._role = role
        self._reconnect = reconnect
        self._engine = create_engine(
            "postgresql+psycopg://",
            pool_size=pool_size,
            max_overflow=0,
            # The same few connections again and again: their statements are prepared, their caches warm.
            pool_use_lifo=True,
            json_serializer=_write_json,
            json_deserializer=partial(json.loads, parse_float=Decimal),
        )
        self._readers = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        event.listen(self._engine, "do_connect", self._address)
        event.listen(self._engine, "checkout", _refuse_dead)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One read committed transaction: committed when the block ends, rolled back if it raises.

        Raises `Unavailable` as the module says; after it, nothing was recorded or it is not known.
        """
        with _translated(), self._connect(self._engine) as connection:
            # SQLAlchemy would take a transaction in which only the driver was spoken to for no transaction.
            connection.begin()
            yield connection
            # PostgreSQL answers COMMIT of a failed transaction with a quiet ROLLBACK.
            if driver(connection).info.transaction_status == TransactionStatus.INERROR:
                raise MeteringError("The transaction had failed before its end, and was rolled back.")
            connection.commit()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One repeatable read, read only transaction: every query in the block sees the same moment."""
        with _translated(), self._connect(self._readers) as connection:
            yield connection

    def ping(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        with self.snapshot() as connection:
            connection.execute(text("SELECT 1"))

    def require_head(self) -> None:
        """Raise `ConfigurationError`, naming the command, unless the schema and the role are as migrated."""
        try:
            with psycopg.connect(self._url, connect_timeout=_CONNECT_SECONDS) as connection:
                _require_version(connection)
                found = _revisions(connection)
        except psycopg.OperationalError as error:
            raise ConfigurationError(f"no connection to the database: {error}") from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(_NO_ROLE) from error
        head = set(ScriptDirectory.from_config(alembic_config(self._url)).get_heads())
        if found != head:
            raise ConfigurationError(
                f"the database's schema is at {_names(found)}, and this version needs {_names(head)}: "
                "run `metering migrate`"
            )
        try:
            with psycopg.connect(**self._arguments()) as connection:
                row = connection.execute("SELECT current_user").fetchone()
        except psycopg.OperationalError as error:
            raise ConfigurationError(_NO_ROLE) from error
        # A connection pooler may drop startup options, and with them the protection.
        if self._role is not None and row != (self._role,):
            raise ConfigurationError(
                f"connections arrive as {row}, not as {self._role}: connect without a pooler"
            )

    def close(self) -> None:
        """Close the pool's connections."""
        self._engine.dispose()

    def _arguments(self) -> dict[str, Any]:
        return connect_arguments(self._url, f"-c role={self._role}" if self._role else "")

    def _address(
        self, _dialect: object, _record: object, _arguments: list[Any], parameters: dict[str, Any]
    ) -> None:
        parameters.update(self._arguments())

    def _connect(self, engine: Engine) -> Connection:
        try:
            return engine.connect()
        except OperationalError:
            if self._reconnect is None:
                raise
            self._url = plain_url(self._reconnect() or self._url)
            return engine.connect()


def driver(connection: Connection) -> psycopg.Connection[tuple[Any, ...]]:
    """The psycopg connection under a transaction's, for COPY and pipelines; never commit on it."""
    return cast("psycopg.Connection[tuple[Any, ...]]", connection.connection.driver_connection)


def sqlstate(error: DBAPIError) -> str | None:
    """The five letters of PostgreSQL's error code, the only thing that code may branch on."""
    return getattr(error.orig, "sqlstate", None)


def plain_url(url: str) -> str:
    """The URL as libpq reads it: without the name of a Python driver."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgresql", "postgres"}:
        raise ConfigurationError("METERING_DATABASE_URL must begin with postgresql://")
    return f"postgresql://{rest}"


def connect_arguments(url: str, option: str) -> dict[str, Any]:
    """What psycopg needs to connect to `url` with one more startup option, such as `-c role=…`."""
    given = psycopg.conninfo.conninfo_to_dict(plain_url(url))
    defaults = {"connect_timeout": _CONNECT_SECONDS, "application_name": "metering"}
    return {**defaults, **given, "options": f"{given.get('options') or ''} {option}".strip()}


def alembic_config(url: str) -> Config:
    """Alembic's settings without a file: its commands work on `url` from any working directory."""
    package = Path(__file__).parents[1]
    # A wheel carries the migrations inside the package; a checkout has them beside it.
    places = package / "_migrations", package.parent / "migrations"
    config = Config(attributes={"url": plain_url(url), "applied": []})
    config.set_main_option("script_location", str(next(p for p in places if p.is_dir())).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(url: str) -> list[str]:
    """Bring the schema to the head with the owner's URL; the revisions applied, oldest first.

    One process migrates at a time, others wait for it. Raises `ConfigurationError` for what a person must
    change, and `Unavailable` if a table stayed locked by others: then run it again.
    """
    config = alembic_config(url)
    try:
        with psycopg.connect(
            config.attributes["url"], autocommit=True, connect_timeout=_CONNECT_SECONDS
        ) as guard:
            _require_version(guard)
            _take_migration_lock(guard)
            command.upgrade(config, "head")
    except psycopg.OperationalError as error:
        raise ConfigurationError(f"no connection to the database: {error}") from error
    except DBAPIError as error:
        if sqlstate(error) == _LOCK_NOT_AVAILABLE:
            raise Unavailable(
                "A migration waited too long for a lock and was rolled back: run `metering migrate` again."
            ) from error
        if sqlstate(error) == _INSUFFICIENT_PRIVILEGE:
            message = cast("psycopg.Error", error.orig).diag.message_primary
            raise ConfigurationError(f"the migration isn't allowed: {message}") from error
        raise
    applied: list[str] = config.attributes["applied"]
    return applied


def _take_migration_lock(guard: psycopg.Connection[Any]) -> None:
    # Tried again and again, for a statement that waits holds a snapshot, which CREATE INDEX CONCURRENTLY
    # of the process that migrates would wait for in turn.
    deadline = time.monotonic() + _MIGRATION_WAIT_SECONDS
    while guard.execute("SELECT pg_try_advisory_lock(%s)", [_MIGRATION_LOCK]).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise Unavailable("Another process is still migrating this database: try again later.")
        time.sleep(0.1)


def _require_version(connection: psycopg.Connection[Any]) -> None:
    if (version := connection.info.server_version // 10_000) < OLDEST_VERSION:
        raise ConfigurationError(
            f"the database is PostgreSQL {version}, and {OLDEST_VERSION} is the oldest usable"
        )


def _revisions(connection: psycopg.Connection[Any]) -> set[str]:
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return set()
    return {row[0] for row in connection.execute("SELECT version_num FROM alembic_version")}


def _names(revisions: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(revisions)) or "nothing"


def _write_json(value: object) -> str:
    return _JSON.encode(value).decode()


_JSON: Final = msgspec.json.Encoder(decimal_format="number")


def _refuse_dead(
    connection: psycopg.Connection[Any], _record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """Replace a pooled connection that the server closed while it lay idle; costs no round trip."""
    if connection.closed:
        raise DisconnectionError("closed")
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    # An idle connection has nothing to read but its end.
    if poll.poll(0):
        raise DisconnectionError("closed by the server")


# The driver's own errors come from what speaks to it directly, such as COPY.
_WAIT_OUT: Final = (
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _WAIT_OUT as error:
        raise Unavailable("The database can't answer now. Send the same again in a few seconds.") from error
