"""Rows of service_tokens: what the gateway and finance present instead of a customer's key."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from metering.storage.tables import service_tokens


class ServiceToken(NamedTuple):
    """A service token without its secret; `scopes` are texts such as `usage:write`."""

    id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None = None


_COLUMNS: Final = [service_tokens.c[name] for name in ServiceToken._fields]


def insert_service_token(connection: Connection, token: ServiceToken, token_hash: bytes) -> None:
    """Record a new token."""
    values = token._asdict() | {"scopes": sorted(token.scopes), "token_hash": token_hash}
    connection.execute(insert(service_tokens).values(**values))


def list_service_tokens(connection: Connection) -> list[ServiceToken]:
    """All tokens, revoked ones too, oldest first: an operator makes few."""
    return [_token(*row) for row in connection.execute(select(*_COLUMNS).order_by(service_tokens.c.id))]


def find_by_hash(connection: Connection, token_hash: bytes) -> ServiceToken | None:
    """The token with this hash, unless it was revoked."""
    tokens = service_tokens.c
    query = select(*_COLUMNS).where(tokens.token_hash == token_hash, tokens.revoked_at.is_(None))
    row = connection.execute(query).first()
    return None if row is None else _token(*row)


def revoke(connection: Connection, token_id: str, now: datetime) -> bool:
    """Revoke the token, unless it was revoked before; False if there is none."""
    answer = connection.execute(
        update(service_tokens)
        .where(service_tokens.c.id == token_id)
        .values(revoked_at=func.coalesce(service_tokens.c.revoked_at, now))
    )
    return answer.rowcount == 1


def _token(
    token_id: object, name: str, scopes: Iterable[str], created_at: datetime, revoked_at: datetime | None
) -> ServiceToken:
    return ServiceToken(str(token_id), name, frozenset(scopes), created_at, revoked_at)
