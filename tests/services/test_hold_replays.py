"""A granted hold asked for again, when the price book has no price for its estimate any more."""

from __future__ import annotations

from typing import Any

import pytest

from metering import ids
from metering.errors import (
    AccountNotFound,
    IdempotencyConflict,
    InvalidApiKey,
    ModelNotFound,
    NotFound,
)
from metering.services.authorizing import Void
from metering.storage.database import Database
from tests.services.desk import CENT, Desk

GONE: dict[str, Any] = {"idempotency_key": "k", "refusal": ModelNotFound("no such model", param="model")}


@pytest.fixture
def desk(database: Database) -> Desk:
    """The use case over a fresh database."""
    return Desk(database)


def test_a_hold_that_was_granted_is_answered_though_its_estimate_is_refused_now(desk: Desk) -> None:
    account_id = desk.account()
    first = desk.authorize(account_id, idempotency_key="k")
    again = desk.authorize(account_id, 0, **GONE)
    assert (again.verb, again.hold) == ("repeated", first.hold)
    with pytest.raises(IdempotencyConflict):
        desk.authorize(account_id, 0, **GONE, body_digest=b"another body")


def test_an_extension_that_was_made_is_answered_though_its_estimate_is_refused_now(desk: Desk) -> None:
    held = desk.authorize(desk.account())
    first = desk.extend(held, CENT, idempotency_key="k")
    again = desk.extend(held, 0, **GONE)
    assert (again.verb, again.hold) == ("repeated", first.hold)
    desk.tell(Void(held.hold.id))
    assert desk.extend(held, 0, **GONE).verb == "repeated"
    with pytest.raises(IdempotencyConflict):
        desk.extend(held, 0, **GONE, body_digest=b"another body")


def test_a_refused_estimate_of_a_first_call_holds_nothing(desk: Desk) -> None:
    account_id = desk.account()
    held = desk.authorize(account_id)
    with pytest.raises(ModelNotFound):
        desk.authorize(account_id, 0, **GONE)
    with pytest.raises(ModelNotFound):
        desk.extend(held, 0, **GONE)
    assert desk.holds.get_hold(held.hold.id).hold == held.hold
    page = desk.holds.list_holds(account_id, state=None, after=None, limit=9)
    assert page.holds == [held.hold]


def test_a_call_that_would_be_refused_anyway_is_refused_for_that(desk: Desk) -> None:
    held = desk.authorize(desk.account())
    with pytest.raises(AccountNotFound):
        desk.authorize(ids.new_id(), 0, **GONE)
    with pytest.raises(InvalidApiKey):
        desk.authorize(None, 0, key_hash=b"nobody's", **GONE)
    with pytest.raises(NotFound):
        desk.extend(held._replace(hold=held.hold._replace(id=ids.new_id())), 0, **GONE)
