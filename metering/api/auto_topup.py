"""Auto top-up: read, set, turned on and off by the customer."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get, put
from msgspec import UNSET, Meta, UnsetType

from metering.api.accounts import Dollars
from metering.api.documentation import body_of
from metering.api.encoding import (
    AMOUNT_PATTERN,
    PRINTABLE,
    amount,
    json_response,
    moment,
    read_amount,
    read_json,
)
from metering.api.errors import error_responses
from metering.api.security import needs_api_key
from metering.api.state import cashier, services
from metering.api.waiting import in_thread
from metering.services.auto_topup_settings import (
    AutoTopUpChanges,
    AutoTopUpView,
    get_auto_topup,
    set_auto_topup,
)
from metering.storage.api_keys import ApiKey

Request_ = Request[None, ApiKey, Any]
CardId = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTABLE)]
MaybeDollars = Annotated[
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
_NULL: Final = b"null"


class ChangeAutoTopUp(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it was; the first time, threshold and amount are needed.

    Without a `payment_method` (null) the default card is charged. `max_per_month` is the most that may be
    bought by itself in a month of UTC, null for no limit of your own.
    """

    enabled: bool
    threshold: Dollars = msgspec.field(default_factory=msgspec.Raw)
    amount: Dollars = msgspec.field(default_factory=msgspec.Raw)
    payment_method: CardId | UnsetType | None = UNSET
    max_per_month: MaybeDollars = msgspec.field(default_factory=msgspec.Raw)


class AutoTopUpFailure(msgspec.Struct):
    """Why the last try of the purchase under way was declined."""

    code: str
    message: str | None


class AutoTopUpBody(msgspec.Struct):
    """`payment_method` is the card that would be charged.

    `off_reason` says why it was turned off: customer, declined, authentication_required, card_removed,
    dispute, refund or runaway. `next_attempt_at` is when a card that was declined is tried again.
    """

    object: str
    enabled: bool
    status: Literal["on", "off", "paused", "buying", "retrying"]
    threshold: Decimal | None
    amount: Decimal | None
    currency: str
    payment_method: str | None
    max_per_month: Decimal | None
    off_reason: str | None
    paused_until: datetime | None
    next_attempt_at: datetime | None
    failure: AutoTopUpFailure | None
    enabled_at: datetime | None
    updated_at: datetime | None


@get("/v1/account/auto_topup", guards=[needs_api_key], responses=error_responses(400, 401))
async def retrieve_auto_topup(request: Request_) -> Response[AutoTopUpBody]:
    """Auto top-up as it stands; it is off until you turn it on."""
    view = await in_thread(get_auto_topup, services(request).database, request.auth.account_id)
    return json_response(_body(view))


@put(
    "/v1/account/auto_topup",
    guards=[needs_api_key],
    operation_class=body_of(ChangeAutoTopUp),
    responses=error_responses(400, 401, 413),
)
async def update_auto_topup(request: Request_) -> Response[AutoTopUpBody]:
    """Set it, turn it on or off. Turned on while the balance is below the threshold, it buys at once."""
    data = await read_json(request, ChangeAutoTopUp)
    changes: AutoTopUpChanges = {"is_enabled": data.enabled}
    if bytes(data.threshold):
        changes["threshold_pico"] = read_amount(data.threshold, "threshold")
    if bytes(data.amount):
        changes["amount_pico"] = read_amount(data.amount, "amount")
    if data.payment_method is not UNSET:
        changes["card_id"] = data.payment_method
    if given := bytes(data.max_per_month):
        most = None if given == _NULL else read_amount(data.max_per_month, "max_per_month")
        changes["most_per_month_pico"] = most
    view = await in_thread(set_auto_topup, cashier(request), request.auth.account_id, changes)
    return json_response(_body(view))


def _body(view: AutoTopUpView) -> dict[str, object]:
    asked, purchase = view.asked, view.purchase
    failure, next_attempt_at = None, None
    if purchase is not None and view.status == "retrying":
        failure = {"code": purchase.failure_code, "message": purchase.failure_message}
        next_attempt_at = moment(purchase.next_attempt_at)
    most = None if asked is None else asked.most_per_month_pico
    return {
        "object": "auto_topup",
        "enabled": asked is not None and asked.is_enabled,
        "status": view.status,
        "threshold": asked and amount(asked.threshold_pico),
        "amount": asked and amount(asked.amount_pico),
        "currency": "USD",
        "payment_method": view.card and view.card.id,
        "max_per_month": None if most is None else amount(most),
        "off_reason": asked and asked.off_reason,
        "paused_until": asked and moment(asked.paused_until),
        "next_attempt_at": next_attempt_at,
        "failure": failure,
        "enabled_at": asked and moment(asked.enabled_at),
        "updated_at": asked and moment(asked.updated_at),
    }


routes = [retrieve_auto_topup, update_auto_topup]
