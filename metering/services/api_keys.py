"""Customers' API keys: shown once, kept as a hash, up to the account's limit."""

from __future__ import annotations

from typing import Final

from metering import clock, ids
from metering.errors import InvalidApiKey, LimitReached, NotFound
from metering.services.texts import checked
from metering.storage import accounts, api_keys
from metering.storage.api_keys import ApiKey
from metering.storage.database import Database

# More revoked keys than this are history that nobody reads.
MAX_LISTED: Final = 1_000


def create_api_key(
    database: Database, account_id: str, *, prefix: str, name: str | None = None
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never seen again.

    Raises `AccountNotFound`, `InvalidParameter`, and `LimitReached` where the account has as many keys
    that are not revoked as it may.
    """
    secret = ids.new_secret(prefix)
    key = ApiKey(
        id=ids.new_id(),
        account_id=account_id,
        name=None if name is None else checked(name, "name"),
        prefix=prefix,
        last_four=secret[-4:],
        created_at=clock.now(),
    )
    with database.transaction() as connection:
        limit = accounts.lock_account(connection, account_id).key_limit
        if api_keys.count_open(connection, account_id) >= limit:
            raise LimitReached(f"The account has its {limit} keys: revoke one, or have the limit raised.")
        api_keys.insert_api_key(connection, key, ids.hash_secret(secret))
    return key, secret


def list_api_keys(database: Database, account_id: str) -> list[ApiKey]:
    """The account's keys, oldest first, revoked ones too; raises `AccountNotFound`."""
    with database.snapshot() as connection:
        accounts.get_account(connection, account_id)
        return api_keys.list_api_keys(connection, account_id, limit=MAX_LISTED)


def revoke_api_key(database: Database, account_id: str, key_id: str) -> ApiKey:
    """The key, which opens nothing any more. Raises `NotFound` where the account has no such key."""
    with database.transaction() as connection:
        key = api_keys.revoke(connection, account_id, key_id, clock.now())
    if key is None:
        raise NotFound("The account has no such key.", param="key_id")
    return key


def authenticate_api_key(database: Database, secret: str) -> ApiKey:
    """The key with this secret; raises `InvalidApiKey`."""
    with database.snapshot() as connection:
        key = api_keys.find_by_hash(connection, ids.hash_secret(secret))
    if key is None:
        raise InvalidApiKey("This API key is unknown or was revoked.")
    return key
