"""Customers' API keys: shown once, kept as a hash, up to the account's limit.

A key ends by being revoked or by its time; what has ended is never changed again, and stays as history. A
rotation makes the key that replaces another, which may go on working for a while.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypedDict

from metering import clock, ids
from metering.errors import InvalidApiKey, InvalidParameter, KeyClosed, LimitReached, NotFound, Unavailable
from metering.ledger.budgets import BudgetTerms
from metering.money import PICO_PER_USD, to_number
from metering.services.ends import require_end
from metering.services.texts import checked
from metering.storage import accounts, api_keys
from metering.storage.api_keys import ApiKey, Spending
from metering.storage.database import Database

# More keys than this are history that nobody reads.
MAX_LISTED: Final = 1_000
MAX_OVERLAP: Final = timedelta(days=30)
MAX_BUDGET_PICO: Final = 10**9 * PICO_PER_USD
# How often a use is noted: `last_used_at` is right to this.
NOTED_EVERY: Final = timedelta(minutes=1)
NO_SUCH_KEY: Final = "This API key is unknown, has expired or was revoked."
_NO_OVERLAP: Final = timedelta(0)


class KeyView(NamedTuple):
    """A key, and what counts in its budget at this moment."""

    key: ApiKey
    spending: Spending = Spending()


class KeyChanges(TypedDict, total=False):
    """What to change of a key; None takes away."""

    name: str | None
    expires_at: datetime | None
    budget: BudgetTerms | None


def create_api_key(
    database: Database,
    account_id: str,
    *,
    prefix: str,
    name: str | None = None,
    expires_at: datetime | None = None,
    budget: BudgetTerms | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never seen again.

    Raises `AccountNotFound`, `InvalidParameter`, and `LimitReached` where the account has as many open
    keys as it may.
    """
    now = clock.now()
    wanted = _checked({"name": name, "expires_at": expires_at, "budget": budget}, now)
    key, secret = _new_key(account_id, prefix, now, **wanted)
    with database.transaction() as connection:
        limit = accounts.lock_account(connection, account_id).key_limit
        if api_keys.count_open(connection, account_id, now) >= limit:
            raise LimitReached(f"The account has its {limit} keys: revoke one, or have the limit raised.")
        api_keys.insert_api_key(connection, key, ids.hash_secret(secret))
    return key, secret


def rotate_api_key(
    database: Database, account_id: str, key_id: str, *, prefix: str, overlap: timedelta = _NO_OVERLAP
) -> tuple[ApiKey, str]:
    """The key that replaces this one, and its secret; the old one works on for the `overlap`.

    That is 30 days at the most. The new key has the old one's name, budget and end; what it spends is
    counted anew. In their overlap both count as keys; rotations may take an account to twice its limit, so
    that a full one can rotate too. Raises `AccountNotFound`, `NotFound`, `KeyClosed` (also where the key was
    replaced before), `LimitReached` and `InvalidParameter`.
    """
    if not _NO_OVERLAP <= overlap <= MAX_OVERLAP:
        raise InvalidParameter("must be from 0 to 30 days", param="overlap_seconds")
    with database.transaction() as connection:
        limit = accounts.lock_account(connection, account_id).key_limit
        now = clock.now()
        old = _open_key(api_keys.find_locked(connection, account_id, key_id), now)
        successor = api_keys.find_successor(connection, account_id, key_id)
        if successor is not None:
            raise KeyClosed(f"The key was replaced before: rotate its successor {successor}.", param="key_id")
        if overlap and api_keys.count_open(connection, account_id, now) >= 2 * limit:
            raise LimitReached("The account has twice its keys in overlaps: revoke one, or rotate without.")
        kept = {"name": old.name, "expires_at": old.expires_at, "budget": old.budget}
        key, secret = _new_key(account_id, prefix, now, replaces_id=old.id, **kept)
        api_keys.insert_api_key(connection, key, ids.hash_secret(secret))
        ends = now + overlap if old.expires_at is None else min(now + overlap, old.expires_at)
        api_keys.update_api_key(connection, account_id, key_id, expires_at=ends)
    return key, secret


def update_api_key(database: Database, account_id: str, key_id: str, changes: KeyChanges) -> KeyView:
    """The key as changed. Raises `AccountNotFound`, `NotFound`, `KeyClosed` and `InvalidParameter`.

    `KeyClosed` also where a key that was replaced would last longer: its overlap is all that it has left.
    """
    wanted: dict[str, Any] = {**_checked(changes, clock.now())}
    if "budget" in wanted:
        wanted |= api_keys.budget_columns(wanted.pop("budget"))
    with database.transaction() as connection:
        accounts.get_account(connection, account_id)
        found = api_keys.find_locked(connection, account_id, key_id)
        now = clock.now()
        key = _open_key(found, now)
        if "expires_at" in wanted and _is_later(wanted["expires_at"], key.expires_at):
            successor = api_keys.find_successor(connection, account_id, key_id)
            if successor is not None:
                raise KeyClosed(f"The key was replaced by {successor}: use that one.", param="expires_at")
        if wanted:
            key = api_keys.update_api_key(connection, account_id, key_id, **wanted)
        return KeyView(key, api_keys.list_spending(connection, account_id, now).get(key_id, Spending()))


def list_api_keys(database: Database, account_id: str) -> list[KeyView]:
    """The account's keys, oldest first, closed ones too; raises `AccountNotFound`."""
    with database.snapshot() as connection:
        accounts.get_account(connection, account_id)
        known = api_keys.list_spending(connection, account_id, clock.now())
        found = api_keys.list_api_keys(connection, account_id, limit=MAX_LISTED)
        return [KeyView(key, known.get(key.id, Spending())) for key in found]


def revoke_api_key(database: Database, account_id: str, key_id: str) -> KeyView:
    """The key, which opens nothing any more. Raises `NotFound` where the account has no such key."""
    with database.transaction() as connection:
        now = clock.now()
        key = _known_key(api_keys.find_locked(connection, account_id, key_id))
        if key.revoked_at is None:
            key = api_keys.update_api_key(connection, account_id, key_id, revoked_at=now)
        return KeyView(key, api_keys.list_spending(connection, account_id, now).get(key_id, Spending()))


def authenticate_api_key(database: Database, secret: str) -> ApiKey:
    """The key with this secret, its use noted about once a minute; raises `InvalidApiKey`."""
    now = clock.now()
    with database.snapshot() as connection:
        key = api_keys.find_by_hash(connection, ids.hash_secret(secret), now)
    if key is None:
        raise InvalidApiKey(NO_SUCH_KEY)
    noted_since = now - NOTED_EVERY
    if key.last_used_at is None or key.last_used_at < noted_since:
        # A key that is good opens the door, also where its use can't be noted.
        with suppress(Unavailable), database.transaction() as connection:
            api_keys.touch(connection, key, now, noted_since)
    return key


def _new_key(account_id: str, prefix: str, now: datetime, **fields: Any) -> tuple[ApiKey, str]:  # noqa: ANN401  (an ApiKey's)
    secret = ids.new_secret(prefix)
    key = ApiKey(
        id=ids.new_id(),
        account_id=account_id,
        prefix=prefix,
        last_four=secret[-4:],
        created_at=now,
        **fields,
    )
    return key, secret


def _checked(wanted: KeyChanges, now: datetime) -> KeyChanges:
    """The same, with a name as it is kept; raises `InvalidParameter`."""
    name, expires_at, budget = wanted.get("name"), wanted.get("expires_at"), wanted.get("budget")
    require_end(expires_at)
    if expires_at is not None and expires_at <= now:
        raise InvalidParameter("must be in the future", param="expires_at")
    if budget is not None and not 0 < budget.amount_pico <= MAX_BUDGET_PICO:
        most = to_number(MAX_BUDGET_PICO)
        raise InvalidParameter(f"must be more than zero and at most {most}", param="budget.amount_usd")
    return {**wanted, "name": checked(name, "name")} if name is not None else wanted


def _is_later(end: datetime | None, than: datetime | None) -> bool:
    """Whether one end is later than another; None is never."""
    return than is not None and (end is None or end > than)


def _known_key(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise NotFound("The account has no such key.", param="key_id")
    return key


def _open_key(found: ApiKey | None, now: datetime) -> ApiKey:
    key = _known_key(found)
    if not key.is_open_at(now):
        ended = "has expired" if key.revoked_at is None else "was revoked"
        raise KeyClosed(f"The key {ended}: make a new one.", param="key_id")
    return key
