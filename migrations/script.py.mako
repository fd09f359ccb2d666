"""${message}.

lock_timeout is 5 s (env.py): a statement that can't have its lock fails, and nothing has happened.
What scans or rewrites a big table must not hold a lock while it does: an index is made CONCURRENTLY in
`with op.get_context().autocommit_block():`, a constraint is added NOT VALID and validated by a later
migration, a column is added without a volatile default. A new table needs its GRANT to metering_service.
"""

from __future__ import annotations

from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Forwards only: money's records are never taken away."""
    ${upgrades if upgrades else "pass"}
