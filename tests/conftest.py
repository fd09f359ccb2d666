"""A real PostgreSQL for every test that wants one: `database` is fresh, and built by Alembic alone.

METERING_TEST_DATABASE_URL names a server to use (its user must be able to make databases and roles);
without it one embedded server serves the whole run, also that of pytest-xdist's workers.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url

from metering.storage.database import Database, migrate
from metering.storage.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = "METERING_TEST_DATABASE_URL"
HOME = "METERING_TEST_HOME"
# The run's databases live for minutes: what the tests ask is what a COMMIT says, not what a power cut leaves.
FAST = {"fsync": "off", "autovacuum": "off"}
made_here = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the run's home before xdist starts its workers, who inherit it."""
    if SERVER not in os.environ and HOME not in os.environ:
        home = Path(tempfile.mkdtemp(prefix="metering-tests-"))
        home.chmod(0o755)  # as root, PostgreSQL's user must get through it
        config.stash[made_here] = home
        os.environ[HOME] = str(home)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it again, after every worker has left the server."""
    if home := config.stash.get(made_here, None):
        del os.environ[HOME]
        shutil.rmtree(home, ignore_errors=True)


def other_database(url: str, name: str) -> str:
    """The same server's database of that name."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def run_sql(url: str, statement: str) -> None:
    """One statement outside any transaction, such as CREATE DATABASE."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server, as a user who may make databases."""
    if given := os.environ.get(SERVER):
        yield given
        return
    server = EmbeddedServer(Path(os.environ[HOME]), settings=FAST)
    yield server.ensure()
    server.release()


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Iterator[str]:
    """The name of a database at Alembic's head, to be copied."""
    name = f"metering_template_{secrets.token_hex(6)}"
    run_sql(postgres_url, f"CREATE DATABASE {name}")
    migrate(other_database(postgres_url, name))
    yield name
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """The owner's URL of a new database without a schema."""
    name = f"metering_test_{secrets.token_hex(6)}"
    run_sql(postgres_url, f"CREATE DATABASE {name}")
    yield other_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """The owner's URL of a new database at Alembic's head."""
    name = f"metering_test_{secrets.token_hex(6)}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield other_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database at Alembic's head, as the service sees it."""
    database = Database(database_url, pool_size=5)
    yield database
    database.close()
