"""Who is asking: customers' API keys and service tokens with scopes, by either header."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from cachetools import TTLCache
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from metering import clock, ids
from metering.api.waiting import in_thread
from metering.errors import InsufficientScope, InvalidApiKey, MissingApiKey
from metering.services.api_keys import NO_SUCH_KEY, authenticate_api_key
from metering.services.service_tokens import PREFIX, authenticate_service_token
from metering.storage.api_keys import ApiKey
from metering.storage.database import Database
from metering.storage.service_tokens import ServiceToken

# A revoked key works for this long at the most; in return a busy gateway's token costs no query.
CACHE_SECONDS: Final = 5
_MAX_SECRET: Final = 512

Connection = ASGIConnection[Any, Any, Any, Any]


class Security:
    """Authenticates, and remembers good keys for a few seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: TTLCache[bytes, ServiceToken | ApiKey] = TTLCache(maxsize=10_000, ttl=CACHE_SECONDS)

    async def service(self, connection: Connection, scope: str) -> ServiceToken:
        """The service token of the request; raises if it is absent, unknown, or lacks the scope."""
        found = await self._authenticate(_secret(connection))
        if not isinstance(found, ServiceToken):
            raise InvalidApiKey("This needs a service token, not a customer's API key.")
        if scope not in found.scopes:
            raise InsufficientScope(f"This needs a service token with the scope {scope}.")
        return found

    async def customer(self, connection: Connection) -> ApiKey:
        """The customer's key of the request; raises if it is absent or unknown."""
        found = await self._authenticate(_secret(connection))
        if not isinstance(found, ApiKey):
            raise InvalidApiKey("This needs a customer's API key, not a service token.")
        return found

    def forget(self) -> None:
        """Ask the database again: something was revoked here."""
        with self._lock:
            self._known.clear()

    async def _authenticate(self, secret: str) -> ServiceToken | ApiKey:
        name = ids.hash_secret(secret)
        with self._lock:
            found = self._known.get(name)
        # Time ends a key without telling anybody.
        if found is None or (isinstance(found, ApiKey) and not found.is_open_at(clock.now())):
            look_up: Callable[[Database, str], ServiceToken | ApiKey] = (
                authenticate_service_token if secret.startswith(PREFIX) else authenticate_api_key
            )
            found = await in_thread(look_up, self._database, secret)
            with self._lock:
                self._known[name] = found
        return found


def needs_scope(scope: str) -> Guard:
    """A guard that lets service tokens with the scope pass, and leaves the token in `scope["auth"]`."""

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        connection.scope["auth"] = await _security(connection).service(connection, scope)

    return guard


async def needs_api_key(connection: Connection, _handler: BaseRouteHandler) -> None:
    """A guard that lets customers' keys pass, and leaves the key in `scope["auth"]`."""
    connection.scope["auth"] = await _security(connection).customer(connection)


def _security(connection: Connection) -> Security:
    found: Security = connection.app.state.services.security
    return found


def _secret(connection: Connection) -> str:
    """The secret of `Authorization: Bearer …` or of `x-api-key`."""
    scheme, _, bearer = connection.headers.get("authorization", "").strip().partition(" ")
    secret = bearer.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key", "").strip()
    if not secret:
        raise MissingApiKey("Send a key: `Authorization: Bearer <key>` or `x-api-key: <key>`.")
    if len(secret) > _MAX_SECRET:
        raise InvalidApiKey(NO_SUCH_KEY)
    return secret
