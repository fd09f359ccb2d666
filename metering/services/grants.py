"""Credit by hand: paid outside the card processor, or given away."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

from metering import ids
from metering.errors import InvalidParameter
from metering.ledger.grants import DEFAULT_PRIORITY, MAX_GRANT_PICO, GrantKind
from metering.ledger.posting_rules import post_grant
from metering.money import to_number
from metering.services.ends import require_end
from metering.services.idempotency import require_same
from metering.services.texts import checked
from metering.storage import grants
from metering.storage.books import keep_books, lock_account
from metering.storage.database import Database, driver
from metering.storage.grants import Grant


class Wanted(NamedTuple):
    """The grant that is asked for; `actor` is who asks."""

    kind: GrantKind
    amount_pico: int
    reason: str
    actor: str
    priority: int = DEFAULT_PRIORITY
    expires_at: datetime | None = None

    def digest(self) -> bytes:
        """SHA-256 of what is asked for, whoever asks: the same key with another digest is a conflict."""
        expires = "" if self.expires_at is None else self.expires_at.astimezone(UTC).isoformat()
        # The reason comes last: it is the only free text, so that no two grants read the same.
        text = "\n".join([self.kind, str(self.amount_pico), str(self.priority), expires, self.reason])
        return hashlib.sha256(text.encode()).digest()


def grant_credit(
    database: Database, account_id: str, wanted: Wanted, idempotency_key: str
) -> tuple[Grant, bool]:
    """Give the account credit, once per idempotency key: the grant, and whether it is new.

    The same again gets the first grant. Raises `AccountNotFound`, `IdempotencyConflict` where the key
    stands for another grant, and `InvalidParameter`.
    """
    _check(wanted)
    key = checked(idempotency_key, "idempotency_key")
    with database.transaction() as connection:
        # The lock orders an account's grants: of two with the same key the second finds the first.
        books, now = lock_account(driver(connection), account_id)
        first = grants.find_by_idempotency_key(connection, account_id, key)
        if first is not None:
            require_same(first.body_digest, wanted.digest(), used="for another grant")
            return first, False
        if wanted.expires_at is not None and wanted.expires_at <= now:
            raise InvalidParameter("must be in the future", param="expires_at")
        transfer = post_grant(
            ids.new_id(),
            account_id,
            wanted.kind,
            wanted.amount_pico,
            now,
            reason=wanted.reason,
            actor=wanted.actor,
        )
        books.post(transfer)
        if wanted.expires_at is not None:
            books.end_by(wanted.expires_at)
        keep_books(driver(connection), [books], now)
        grant = Grant(
            id=ids.new_id(),
            account_id=account_id,
            transfer_id=transfer.id,
            idempotency_key=key,
            body_digest=wanted.digest(),
            balance_after_pico=books.posted_pico,
            created_at=now,
            **wanted._asdict(),
        )
        grants.insert_grant(connection, grant)
    return grant, True


def _check(wanted: Wanted) -> None:
    checked(wanted.reason, "reason", most=2_000)
    require_end(wanted.expires_at)
    if not 0 < wanted.amount_pico <= MAX_GRANT_PICO:
        most = to_number(MAX_GRANT_PICO)
        raise InvalidParameter(f"must be more than zero and at most {most}", param="amount_usd")
