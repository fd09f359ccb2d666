"""Service tokens: what the gateway and finance present, with the scopes that they need."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from metering import clock, ids
from metering.errors import InvalidApiKey, InvalidParameter, NotFound
from metering.services.texts import checked
from metering.storage import service_tokens
from metering.storage.database import Database
from metering.storage.service_tokens import ServiceToken

PREFIX: Final = "mst-"


class Scope(StrEnum):
    """What a service token may do."""

    USAGE_WRITE = "usage:write"
    USAGE_READ = "usage:read"
    ACCOUNTS_WRITE = "accounts:write"
    ACCOUNTS_READ = "accounts:read"
    CREDITS_WRITE = "credits:write"
    HOLDS_WRITE = "holds:write"
    FINANCE_READ = "finance:read"


def create_service_token(
    database: Database, *, name: str, scopes: Iterable[Scope]
) -> tuple[ServiceToken, str]:
    """A new token and its secret, which is never seen again. Raises `InvalidParameter`."""
    granted = frozenset(scope.value for scope in scopes)
    if not granted:
        raise InvalidParameter("a token needs at least one scope", param="scopes")
    secret = ids.new_secret(PREFIX)
    token = ServiceToken(ids.new_id(), checked(name, "name"), granted, clock.now())
    with database.transaction() as connection:
        service_tokens.insert_service_token(connection, token, ids.hash_secret(secret))
    return token, secret


def list_service_tokens(database: Database) -> list[ServiceToken]:
    """All tokens, oldest first."""
    with database.snapshot() as connection:
        return service_tokens.list_service_tokens(connection)


def revoke_service_token(database: Database, token_id: str) -> None:
    """The token opens nothing any more. Raises `NotFound`."""
    with database.transaction() as connection:
        if not service_tokens.revoke(connection, token_id, clock.now()):
            raise NotFound("There is no such service token.", param="token_id")


def authenticate_service_token(database: Database, secret: str) -> ServiceToken:
    """The token with this secret; raises `InvalidApiKey`."""
    with database.snapshot() as connection:
        token = service_tokens.find_by_hash(connection, ids.hash_secret(secret))
    if token is None:
        raise InvalidApiKey("This service token is unknown or was revoked.")
    return token
