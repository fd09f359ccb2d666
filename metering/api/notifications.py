"""What an account is told by mail: for its owner."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, put
from msgspec import UNSET, Meta, UnsetType

from metering.api.accounts import Email
from metering.api.documentation import body_of
from metering.api.encoding import AMOUNT_PATTERN, amount, json_response, read_amount, read_json
from metering.api.errors import error_responses
from metering.api.security import needs_api_key
from metering.api.state import services
from metering.api.waiting import in_thread
from metering.services import notifications
from metering.services.notifications import NotificationChanges, Notifications
from metering.storage.api_keys import ApiKey

Request_ = Request[None, ApiKey, Any]
DollarsOrNull = Annotated[
    msgspec.Raw,
    Meta(
        extra_json_schema={
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 10**9},
                {"type": "string", "pattern": AMOUNT_PATTERN, "maxLength": 40},
                {"type": "null"},
            ]
        }
    ),
]


class ChangeNotifications(msgspec.Struct, forbid_unknown_fields=True):
    """What to change; what is left out stays, null takes away.

    Receipts and warnings are mailed to `email`; `low_balance` is below what balance to warn.
    """

    email: Email | UnsetType | None = UNSET
    low_balance: DollarsOrNull = msgspec.field(default_factory=msgspec.Raw)


class NotificationsBody(msgspec.Struct):
    """Where mail goes, and below what balance there is a warning, in US dollars; null for never."""

    object: str
    email: str | None
    low_balance: Decimal | None
    currency: str


@get("/v1/account/notifications", guards=[needs_api_key], responses=error_responses(400, 401))
async def retrieve_notifications(request: Request_) -> Response[NotificationsBody]:
    """Where the account's mail goes, and when it is warned."""
    ours = services(request)
    found = await in_thread(notifications.get_notifications, ours.database, request.auth.account_id)
    return json_response(_body(found))


@put(
    "/v1/account/notifications",
    guards=[needs_api_key],
    operation_class=body_of(ChangeNotifications),
    responses=error_responses(400, 401, 413),
)
async def set_notifications(request: Request_) -> Response[NotificationsBody]:
    """Change where the account's mail goes, and when it is warned."""
    data = await read_json(request, ChangeNotifications)
    changes: NotificationChanges = {}
    if data.email is not UNSET:
        changes["email"] = data.email
    if low := bytes(data.low_balance):
        changes["low_balance_pico"] = None if low == b"null" else read_amount(data.low_balance, "low_balance")
    database, account_id = services(request).database, request.auth.account_id
    return json_response(
        _body(await in_thread(notifications.set_notifications, database, account_id, changes))
    )


def _body(found: Notifications) -> dict[str, object]:
    low_pico = found.low_balance_pico
    return {
        "object": "notifications",
        "email": found.email,
        "low_balance": None if low_pico is None else amount(low_pico),
        "currency": "USD",
    }


routes = [retrieve_notifications, set_notifications]
