"""Customers' webhook endpoints: where they are told of what, and what became of it.

The secret is shown once, when the endpoint is made. Who wants another one makes a second endpoint of the same
URL, and removes the first when its receiver knows the new secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict

from metering import clock, ids
from metering.errors import InvalidParameter, LimitReached, NotFound
from metering.ledger.notices import NoticeType
from metering.messages.webhooks import check_url, new_secret
from metering.storage import accounts, webhook_deliveries, webhook_endpoints
from metering.storage.database import Database, driver
from metering.storage.webhook_deliveries import Delivery
from metering.storage.webhook_endpoints import Endpoint

MAX_ENDPOINTS: Final = 10
MAX_REPLAY: Final = timedelta(days=30)
_SWITCHED_OFF: Final = "The endpoint was switched off."
_REMOVED: Final = "The endpoint was removed."


class EndpointChanges(TypedDict, total=False):
    """What to change of an endpoint."""

    url: str
    types: Sequence[NoticeType]
    is_enabled: bool


def create_endpoint(
    database: Database,
    account_id: str,
    url: str,
    types: Sequence[NoticeType] = tuple(NoticeType),
    *,
    allows_private: bool,
) -> tuple[Endpoint, str]:
    """A new endpoint and its secret. Raises `AccountNotFound`, `InvalidParameter` and `LimitReached`."""
    url = check_url(url, allows_private=allows_private)
    endpoint = Endpoint(ids.new_id(), account_id, url, _names(types), True, None, clock.now())  # noqa: FBT003
    secret = new_secret()
    with database.transaction() as connection:
        accounts.lock_account(connection, account_id)
        if webhook_endpoints.count_endpoints(connection, account_id) >= MAX_ENDPOINTS:
            raise LimitReached(f"The account has its {MAX_ENDPOINTS} webhook endpoints: remove one first.")
        webhook_endpoints.insert_endpoint(connection, endpoint, secret)
    return endpoint, secret


def list_endpoints(database: Database, account_id: str) -> list[Endpoint]:
    """The account's endpoints, oldest first."""
    with database.snapshot() as connection:
        return webhook_endpoints.list_endpoints(connection, account_id)


def update_endpoint(
    database: Database, account_id: str, endpoint_id: str, changes: EndpointChanges, *, allows_private: bool
) -> Endpoint:
    """The endpoint as changed. Raises `NotFound` and `InvalidParameter`.

    Switching it off gives up what waits for it; once it is on again, that can be replayed.
    """
    wanted: dict[str, Any] = {**changes}
    if "url" in changes:
        wanted["url"] = check_url(changes["url"], allows_private=allows_private)
    if "types" in changes:
        wanted["types"] = _names(changes["types"])
    if "is_enabled" in changes:
        wanted["off_reason"] = None
    if not wanted:
        return _get(database, account_id, endpoint_id)
    return _change(database, account_id, endpoint_id, wanted, _SWITCHED_OFF)


def remove_endpoint(database: Database, account_id: str, endpoint_id: str) -> Endpoint:
    """The endpoint, which is told nothing more; raises `NotFound`."""
    gone = {"is_enabled": False, "removed_at": clock.now()}
    return _change(database, account_id, endpoint_id, gone, _REMOVED)


def list_deliveries(
    database: Database, account_id: str, endpoint_id: str, *, before: str | None = None, limit: int
) -> list[Delivery]:
    """Up to `limit` of what was sent there, the newest notice first, those before `before`'s.

    Raises `NotFound`.
    """
    with database.snapshot() as connection:
        _known(webhook_endpoints.find_endpoint(connection, account_id, endpoint_id))
        raw = driver(connection)
        return webhook_deliveries.list_deliveries(raw, account_id, endpoint_id, before=before, limit=limit)


def replay(
    database: Database,
    account_id: str,
    endpoint_id: str,
    *,
    notice_id: str | None = None,
    since: datetime | None = None,
) -> int:
    """Send one notice again, or all since then; how many, less those that wait to be sent anyway.

    All are of the types that the endpoint wants, and of the last 30 days. Raises `NotFound`, and
    `InvalidParameter` also where the endpoint is off.
    """
    now = clock.now()
    if (notice_id is None) == (since is None):
        raise InvalidParameter("say either notice_id or since", param="notice_id")
    if since is not None and since < now - MAX_REPLAY:
        raise InvalidParameter(f"must be within the last {MAX_REPLAY.days} days", param="since")
    with database.transaction() as connection:
        endpoint = _known(webhook_endpoints.lock_endpoint(connection, account_id, endpoint_id))
        if not endpoint.is_enabled:
            raise InvalidParameter("is off: switch it on first", param="endpoint_id")
        raw = driver(connection)
        if notice_id is not None and not webhook_deliveries.has_notice(raw, account_id, notice_id):
            raise NotFound("The account has no such notice.", param="notice_id")
        return webhook_deliveries.replay(raw, account_id, endpoint_id, now, notice_id=notice_id, since=since)


def _change(
    database: Database, account_id: str, endpoint_id: str, wanted: dict[str, Any], why_off: str
) -> Endpoint:
    with database.transaction() as connection:
        changed = _known(webhook_endpoints.update_endpoint(connection, account_id, endpoint_id, **wanted))
        if not changed.is_enabled:
            webhook_deliveries.give_up(driver(connection), account_id, endpoint_id, why_off)
    return changed


def _get(database: Database, account_id: str, endpoint_id: str) -> Endpoint:
    with database.snapshot() as connection:
        return _known(webhook_endpoints.find_endpoint(connection, account_id, endpoint_id))


def _known(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound("The account has no such webhook endpoint.", param="endpoint_id")
    return endpoint


def _names(types: Sequence[NoticeType]) -> list[str]:
    """Each once, in the order of the list of all."""
    if not types:
        raise InvalidParameter("must name at least one type", param="types")
    return [kind.value for kind in NoticeType if kind in types]
