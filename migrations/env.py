"""Alembic's entry; `metering.storage.database.alembic_config` has its settings, no file does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import NullPool, create_engine

from metering.storage import ledger_tables, notice_tables, payment_tables, tables  # noqa: F401  (they fill the metadata)
from metering.storage.columns import metadata
from metering.storage.database import connect_arguments

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationInfo

# A migration that waits for a lock makes everybody behind it wait: better to give up and run again.
LOCK_TIMEOUT = "5s"


def note_applied(
    ctx: object,  # noqa: ARG001  (Alembic passes all four by name)
    step: MigrationInfo,
    heads: object,  # noqa: ARG001
    run_args: object,  # noqa: ARG001
) -> None:
    """Tell the caller which revisions ran."""
    context.config.attributes["applied"].extend(step.up_revision_ids)


def run() -> None:
    """Each migration in a transaction of its own, on a connection that never waits long for a lock."""
    if context.is_offline_mode():
        raise NotImplementedError("migrations run on a live database only")
    arguments = connect_arguments(context.config.attributes["url"], f"-c lock_timeout={LOCK_TIMEOUT}")
    engine = create_engine("postgresql+psycopg://", poolclass=NullPool, connect_args=arguments)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            transaction_per_migration=True,
            compare_server_default=True,
            on_version_apply=note_applied,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
