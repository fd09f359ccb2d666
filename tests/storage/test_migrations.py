"""The schema: made by Alembic alone, the same as tables.py, and asked for before the service starts."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import make_url

from metering.errors import ConfigurationError, Unavailable
from metering.ledger.invariants import Law
from metering.services.audit import check_books
from metering.services.lots import allocate_all
from metering.storage import database as storage
from metering.storage.columns import metadata
from metering.storage.database import Database, alembic_config, migrate
from metering.storage.tables import SERVICE_ROLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config

REVISIONS = ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]
# What Alembic doesn't compare: checks, storage parameters, predicates and the columns' order.
CATALOGUE = """
SELECT 'column', attrelid::regclass::text, attnum::text,
       concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))
  FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
       LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'storage', relname, '', reloptions::text
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


def catalogue(url: str) -> set[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return {row for row in connection.execute(CATALOGUE) if row[1] != "alembic_version"}


@pytest.fixture
def login(postgres_url: str) -> Iterator[str]:
    """A role that can log in and nothing else; ask for it before the database that it may come to own."""
    name = f"metering_login_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'".encode())
        yield name
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def as_user(url: str, name: str) -> str:
    return make_url(url).set(username=name, password="pw").render_as_string(hide_password=False)


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_migrate_names_what_it_applied(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == REVISIONS
    assert migrate(empty_database_url.replace("postgresql://", "postgresql+psycopg://")) == []


def test_no_drift_by_alembic(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_no_drift_by_the_catalogue(database_url: str, empty_database_url: str) -> None:
    database = Database(empty_database_url, role=None)
    with database.transaction() as connection:
        metadata.create_all(connection)
    database.close()
    assert catalogue(database_url) == catalogue(empty_database_url)


def test_migrate_from_any_directory(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert migrate(empty_database_url)


def test_a_wheel_carries_the_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "50%" / "metering"
    repository = Path(__file__).parents[2]
    shutil.copytree(repository / "migrations", package / "_migrations")
    (package.parent / "migrations").mkdir()  # somebody else's, beside ours in site-packages
    monkeypatch.setattr(storage, "__file__", str(package / "storage" / "database.py"))
    location = alembic_config("postgresql://").get_main_option("script_location")
    assert location == str(package / "_migrations")


def test_several_databases_of_a_cluster_at_once(postgres_url: str) -> None:
    names = [f"metering_test_{secrets.token_hex(6)}" for _ in range(4)]
    urls = [make_url(postgres_url).set(database=n).render_as_string(hide_password=False) for n in names]
    execute(postgres_url, *(f"CREATE DATABASE {name}" for name in names))
    try:
        with ThreadPoolExecutor(8) as pool:
            applied = list(pool.map(migrate_apart, [*urls, *urls]))
        assert sorted(applied) == [0] * 4 + [len(REVISIONS)] * 4
    finally:
        execute(postgres_url, *(f"DROP DATABASE {name} WITH (FORCE)" for name in names))


def migrate_apart(url: str) -> int:
    """Migrate in a process of its own, for Alembic keeps its context in one place; how many revisions."""
    code = "import sys; from metering.storage.database import migrate; print(len(migrate(sys.argv[1])))"
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, "-c", code, url], env=environment, check=True, capture_output=True)
    return int(done.stdout)


def test_a_schema_that_is_not_at_head_is_refused(empty_database_url: str, database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(ConfigurationError, match=r"schema is at nothing.*`metering migrate`"):
        database.require_head()
    database.close()
    database = Database(database_url)
    database.require_head()
    execute(database_url, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(
        ConfigurationError, match=r"at 0000, and this version needs 0\d+: run `metering migrate`"
    ):
        database.require_head()
    database.close()


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    for ask in (migrate, lambda url: Database(url).require_head()):
        with pytest.raises(ConfigurationError, match="no connection") as caught:
            ask("postgresql://someone:secret@127.0.0.1:9/metering")
        assert "secret" not in caught.value.message
    with pytest.raises(ConfigurationError, match="must begin with postgresql://"):
        Database("mysql://localhost/metering")


def test_an_old_server_is_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "OLDEST_VERSION", 99)
    with pytest.raises(ConfigurationError, match="99 is the oldest usable"):
        migrate(database_url)


def test_a_login_of_its_own(login: str, database_url: str) -> None:
    database = Database(as_user(database_url, login))
    with pytest.raises(ConfigurationError, match="may not act as the role metering_service"):
        database.require_head()
    execute(database_url, f"GRANT {SERVICE_ROLE} TO {login}")
    database.require_head()
    database.close()


def test_an_owner_that_may_not_make_roles(login: str, empty_database_url: str) -> None:
    name = make_url(empty_database_url).database
    # The role exists in this cluster by now or it doesn't: either way this user may not grant it.
    execute(empty_database_url, f'ALTER DATABASE "{name}" OWNER TO {login}')
    with pytest.raises(
        ConfigurationError, match=f"a DBA must run .* `GRANT metering_service TO {login};` first"
    ):
        migrate(as_user(empty_database_url, login))
    execute(empty_database_url, f"GRANT {SERVICE_ROLE} TO {login}")
    assert migrate(as_user(empty_database_url, login)) == REVISIONS
    database = Database(as_user(empty_database_url, login))
    database.require_head()
    database.close()


def test_an_owner_that_may_make_roles(login: str, empty_database_url: str, template: str) -> None:
    name = make_url(empty_database_url).database
    with psycopg.connect(empty_database_url) as connection:
        may_lack_set = connection.info.server_version >= 160000
    # So is the membership of a user that made the role by CREATEROLE; before 16 that was all or nothing.
    option = "ADMIN TRUE, SET FALSE" if may_lack_set else "ADMIN OPTION"
    execute(empty_database_url, f"GRANT {SERVICE_ROLE} TO {login} WITH {option}")
    execute(empty_database_url, f'ALTER DATABASE "{name}" OWNER TO {login}')
    assert migrate(as_user(empty_database_url, login)) == REVISIONS
    database = Database(as_user(empty_database_url, login))
    database.require_head()
    database.close()


def test_a_locked_table_stops_no_traffic_for_long(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = migrations_with(tmp_path, "ALTER TABLE accounts ADD COLUMN later text")
    monkeypatch.setattr(storage, "alembic_config", lambda url: located(url, made))
    execute(empty_database_url, "CREATE TABLE accounts ()")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("LOCK TABLE accounts")
        with pytest.raises(Unavailable, match="run `metering migrate` again"):
            migrate(empty_database_url)
    assert migrate(empty_database_url) == ["0001"]


def test_a_new_migration_from_the_template_runs(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(__file__).parents[2]
    made = tmp_path / "migrations"
    shutil.copytree(repository / "migrations", made)
    config = located(empty_database_url, made)
    command.revision(config, "another floor", rev_id="9999", head=REVISIONS[-1])
    text = (made / "versions" / "9999_another_floor.py").read_text()
    assert "lock_timeout" in text
    monkeypatch.setattr(storage, "alembic_config", lambda url: located(url, made))
    assert migrate(empty_database_url) == [*REVISIONS, "9999"]


BEFORE_THE_CHAIN = (
    "INSERT INTO accounts VALUES (gen_random_uuid(), 'Ada', NULL, 50, 50, 2000000, now())",
    """INSERT INTO transfers
       SELECT account_id, gen_random_uuid(), 'grant', 'cash:manual', 'customer_credit', amount, 'a', 'b',
              NULL, now() + interval '1 second' * at, now()
         FROM accounts, (VALUES (1, 2), (2, 1), (4, 3), (8, 3)) AS given (amount, at)""",
    """INSERT INTO grants
       SELECT account_id, gen_random_uuid(), 'paid', amount_usd, 'a', 'b', amount_usd, '', 100, NULL, id,
              2 * amount_usd - 1, recorded_at FROM transfers""",
    "INSERT INTO balances SELECT account_id, sum(amount_usd), 0, max(recorded_at) FROM transfers GROUP BY 1",
)


def test_grants_of_before_the_chain_keep_every_law_whatever_order_their_times_say(
    empty_database_url: str,
) -> None:
    command.upgrade(alembic_config(empty_database_url), "0001")
    execute(empty_database_url, *BEFORE_THE_CHAIN)
    assert migrate(empty_database_url) == REVISIONS[1:]
    database = Database(empty_database_url)
    allocate_all(database)
    assert check_books(database) == []
    execute(empty_database_url, "UPDATE grants SET amount_usd = 3 WHERE amount_usd = 4")
    assert {breach.law for breach in check_books(database)} == {Law.GRANT}
    database.close()


def migrations_with(directory: Path, statement: str) -> Path:
    """A copy of the migrations' directory whose only revision runs the statement, and hurries to give up."""
    made = directory / "migrations"
    (made / "versions").mkdir(parents=True)
    env = (Path(__file__).parents[2] / "migrations" / "env.py").read_text()
    assert 'LOCK_TIMEOUT = "5s"' in env
    (made / "env.py").write_text(env.replace('"5s"', '"100ms"'))
    (made / "versions" / "0001_locked.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        f"def upgrade():\n    op.execute({statement!r})\n"
    )
    return made


def located(url: str, directory: Path) -> Config:
    config = alembic_config(url)
    config.set_main_option("script_location", str(directory))
    return config
