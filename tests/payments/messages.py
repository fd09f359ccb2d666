"""Messages as Stripe sends them: made by the simulator, signed here, and handed over in any order."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from metering import clock
from metering.payments.gateway import Message
from metering.services.cashier import Cashier
from tests.simulator.fixtures import SECRET

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def signature(body: bytes, *, secret: str = SECRET, age: timedelta = timedelta(0)) -> str:
    """The header `Stripe-Signature` of a body, as if it had been made some time ago."""
    at = int((datetime.now(UTC) - age).timestamp())
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def messages_of(cashier: Cashier, *types: str) -> list[Message]:
    """Everything that the simulator told so far, oldest first; of these types only, if any are named."""
    return [one for one in cashier.gateway.iter_messages(LONG_AGO) if not types or one.type in types]


def event(type_: str = "payout.paid", event_id: str = "evt_1", **about: Any) -> bytes:  # noqa: ANN401
    """An event of any type, about anything."""
    shape = {"id": event_id, "object": "event", "type": type_, "created": int(clock.now().timestamp())}
    return json.dumps({**shape, "data": {"object": {"id": "x_1", "object": "x", **about}}}).encode()
