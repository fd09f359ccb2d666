"""From Stripe's events to `Message`s: whom and what an event is about, whatever its type and API version.

Only what every version has is read, and as plain JSON: an event that waited for days, or was made for another
version, is as good as a new one, since a message is but a hint to look at how things stand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metering.errors import InvalidSignature
from metering.payments.gateway import Message
from metering.payments.stripe_objects import moment


def message_of(payload: str) -> Message:
    """The message that the JSON text of an event is; raises `InvalidSignature` if it is none."""
    try:
        event = json.loads(payload)
        about = event["data"]["object"]
        ours = about.get("metadata") or {}
        kind = about.get("object")
        return Message(
            id=event["id"],
            type=event["type"],
            occurred_at=moment(event["created"]),
            payload=payload,
            payment_id=about["id"] if kind == "payment_intent" else _id(about.get("payment_intent")),
            session_id=about["id"] if kind == "checkout.session" else None,
            customer_id=about["id"] if kind == "customer" else _customer(event["data"]),
            account_id=ours.get("account_id"),
            top_up_id=ours.get("top_up_id"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidSignature("The body is no event.") from error


def _customer(data: Mapping[str, Any]) -> str | None:
    """The customer; of a card that was just detached, the one that it had before."""
    before: Mapping[str, Any] = data.get("previous_attributes") or {}
    return _id(data["object"].get("customer")) or _id(before.get("customer"))


def _id(value: str | Mapping[str, Any] | None) -> str | None:
    return value["id"] if isinstance(value, Mapping) else value
