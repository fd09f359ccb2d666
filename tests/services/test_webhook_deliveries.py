"""Customers' webhooks, from the notices' rows to a real server: in order, and again until they are taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from metering import clock, ids
from metering.errors import InvalidParameter, LimitReached, NotFound
from metering.ledger.notices import NoticeType
from metering.messages.webhooks import WebhookSender
from metering.services.webhook_deliveries import LEASE, WAITS, deliver_webhooks
from metering.services.webhook_endpoints import (
    MAX_ENDPOINTS,
    create_endpoint,
    list_deliveries,
    list_endpoints,
    remove_endpoint,
    replay,
    update_endpoint,
)
from metering.storage import webhook_deliveries
from metering.storage.database import Database, driver
from tests.messages.receiver import Call, Receiver, open_receiver
from tests.services.telling import an_account, tell

LOW = NoticeType.BALANCE_LOW
OFF = NoticeType.AUTO_TOPUP_OFF
A_SECOND = timedelta(seconds=1)
SENDER = WebhookSender(allows_private=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A customer's server."""
    with open_receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


def open_to(database: Database, receiver: Receiver, account_id: str, *types: NoticeType) -> tuple[str, str]:
    """An endpoint of the account; its id and its secret."""
    wanted = types or tuple(NoticeType)
    endpoint, secret = create_endpoint(database, account_id, receiver.url, wanted, allows_private=True)
    return endpoint.id, secret


def deliver(database: Database) -> int:
    return deliver_webhooks(database, SENDER, threads=4)


def told(receiver: Receiver) -> list[str]:
    return [call.headers["webhook-id"] for call in receiver.calls]


def states(database: Database, account_id: str, endpoint_id: str) -> list[tuple[str, int]]:
    """The deliveries' states and attempts, oldest notice first."""
    found = list_deliveries(database, account_id, endpoint_id, limit=1_000)
    return [(one.state, one.attempts) for one in reversed(found)]


def test_a_notice_is_delivered_once_and_verifies(database: Database, receiver: Receiver) -> None:
    account_id = an_account(database)
    _, secret = open_to(database, receiver, account_id)
    notice_id = tell(database, account_id, LOW)
    assert [deliver(database), deliver(database)] == [1, 0]
    (call,) = receiver.calls
    body: dict[str, Any] = Webhook(secret).verify(call.body, call.headers)
    assert datetime.fromisoformat(body.pop("timestamp")) <= clock.now()
    data = {"account_id": account_id, "balance": "4.371283912", "threshold": "5"}
    assert body == {"type": "balance.low", "data": data}
    assert call.headers["webhook-id"] == notice_id


def test_only_the_types_that_are_wanted_are_told_to_those_who_are_there(
    database: Database, receiver: Receiver
) -> None:
    account_id, other_id = an_account(database), an_account(database)
    tell(database, account_id, LOW)
    open_to(database, receiver, account_id, LOW)
    wanted = tell(database, account_id, LOW)
    tell(database, account_id, OFF)
    tell(database, other_id, LOW)
    deliver(database)
    assert told(receiver) == [wanted]


def test_what_fails_holds_up_what_comes_after_it_and_nothing_else(database: Database) -> None:
    with ExitStack() as stack:
        good, bad = (stack.enter_context(open_receiver()) for _ in range(2))
        account_id = an_account(database)
        open_to(database, good, account_id)
        failing, _ = open_to(database, bad, account_id)
        bad.answers += [500, 503]
        notices = [tell(database, account_id, LOW) for _ in range(3)]
        assert deliver(database) == 4
        assert (told(good), told(bad)) == (notices, notices[:1])
        clock.run_ahead(WAITS[0] + A_SECOND)
        assert deliver(database) == 1
        assert told(bad) == [notices[0]] * 2
        assert states(database, account_id, failing) == [("waiting", 2), ("waiting", 0), ("waiting", 0)]
        clock.run_ahead(WAITS[0] + WAITS[1] + 2 * A_SECOND)
        assert deliver(database) == 3
        assert told(bad) == [notices[0]] * 3 + notices[1:]
        assert told(good) == notices


def test_tries_are_at_the_standard_s_times_and_after_the_last_the_endpoint_is_off(
    database: Database, receiver: Receiver
) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    receiver.answers += [500] * 20
    tell(database, account_id, LOW)
    tell(database, account_id, LOW)
    passed = timedelta(0)
    for wait in WAITS:
        assert deliver(database) == 1
        clock.run_ahead(passed + wait - A_SECOND)
        assert deliver(database) == 0
        passed += wait + A_SECOND
        clock.run_ahead(passed)
    assert deliver(database) == 1
    (endpoint,) = list_endpoints(database, account_id)
    assert (endpoint.is_enabled, endpoint.off_reason) == (False, "It failed for more than a day.")
    first, second = reversed(list_deliveries(database, account_id, endpoint_id, limit=10))
    assert (first.state, first.attempts, first.failure) == ("failed", 8, "The answer was 500.")
    assert (second.state, second.attempts, second.failure) == ("failed", 0, "The endpoint was switched off.")
    tell(database, account_id, LOW)
    clock.run_ahead(passed + timedelta(days=10))
    assert deliver(database) == 0


def test_who_is_gone_is_not_called_again(database: Database, receiver: Receiver) -> None:
    account_id = an_account(database)
    open_to(database, receiver, account_id)
    receiver.answers.append(410)
    tell(database, account_id, LOW)
    assert deliver(database) == 1
    (endpoint,) = list_endpoints(database, account_id)
    assert (endpoint.is_enabled, endpoint.off_reason) == (False, "It answered 410 (gone).")


def test_an_endpoint_that_hangs_holds_up_no_other(database: Database) -> None:
    with ExitStack() as stack:
        slow, quick = (stack.enter_context(open_receiver()) for _ in range(2))
        accounts = [an_account(database) for _ in range(2)]
        for account_id, receiver in zip(accounts, (slow, quick), strict=True):
            open_to(database, receiver, account_id)
            tell(database, account_id, LOW)
        answered = threading.Event()
        quick.meanwhile = lambda _call: answered.set()
        # The one answers when the other has been told.
        slow.meanwhile = lambda _call: answered.wait(10)
        assert deliver(database) == 2
        (endpoint,) = list_endpoints(database, accounts[0])
        assert states(database, accounts[0], endpoint.id) == [("delivered", 1)]


def test_what_is_told_while_an_endpoint_hangs_does_not_wait_for_it(database: Database) -> None:
    with ExitStack() as stack:
        slow, quick = (stack.enter_context(open_receiver()) for _ in range(2))
        hanging, other = (an_account(database) for _ in range(2))
        for account_id, receiver in ((hanging, slow), (other, quick)):
            open_to(database, receiver, account_id)
        answered = threading.Event()
        quick.meanwhile = lambda _call: answered.set()
        in_time: list[bool] = []

        def hang(_call: Call) -> None:
            tell(database, other, LOW)
            in_time.append(answered.wait(10))

        slow.meanwhile = hang
        tell(database, hanging, LOW)
        assert deliver(database) == 2
        assert in_time == [True]


def test_many_workers_deliver_each_notice_once_and_in_order(database: Database, receiver: Receiver) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    notices = [tell(database, account_id, LOW) for _ in range(20)]
    workers = [threading.Thread(target=deliver, args=(database,)) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    deliver(database)
    assert told(receiver) == notices
    assert states(database, account_id, endpoint_id) == [("delivered", 1)] * 20


def test_what_is_told_while_others_are_delivered_comes_after_them(
    database: Database, receiver: Receiver
) -> None:
    account_id = an_account(database)
    open_to(database, receiver, account_id)
    notices = [tell(database, account_id, LOW)]

    def one_more(_call: Call) -> None:
        if len(notices) < 5:
            notices.append(tell(database, account_id, LOW))

    receiver.meanwhile = one_more
    assert deliver(database) == 5
    assert told(receiver) == notices


def test_a_worker_that_died_leaves_a_notice_that_is_told_again(
    database: Database, receiver: Receiver
) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    tell(database, account_id, LOW)
    with database.transaction() as connection:
        now = clock.now()
        raw = driver(connection)
        assert webhook_deliveries.claim(raw, account_id, endpoint_id, now, now + LEASE) is not None
    clock.run_ahead(LEASE - A_SECOND)
    assert deliver(database) == 0
    clock.run_ahead(LEASE + A_SECOND)
    assert deliver(database) == 1
    assert states(database, account_id, endpoint_id) == [("delivered", 2)]


def test_one_notice_is_replayed_under_the_same_id(database: Database, receiver: Receiver) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    first, second = tell(database, account_id, LOW), tell(database, account_id, LOW)
    assert replay(database, account_id, endpoint_id, notice_id=second) == 0
    deliver(database)
    assert replay(database, account_id, endpoint_id, notice_id=first) == 1
    assert deliver(database) == 1
    assert told(receiver) == [first, second, first]
    assert receiver.calls[0].body == receiver.calls[2].body


def test_all_since_a_time_are_replayed_also_what_was_missed_while_it_was_off(
    database: Database, receiver: Receiver
) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id, LOW)
    before = tell(database, account_id, LOW)
    deliver(database)
    since = clock.now()
    update_endpoint(database, account_id, endpoint_id, {"is_enabled": False}, allows_private=True)
    missed = [tell(database, account_id, LOW) for _ in range(2)]
    tell(database, account_id, OFF)
    with pytest.raises(InvalidParameter, match="switch it on"):
        replay(database, account_id, endpoint_id, since=since)
    update_endpoint(database, account_id, endpoint_id, {"is_enabled": True}, allows_private=True)
    assert deliver(database) == 0
    assert replay(database, account_id, endpoint_id, since=since) == 2
    deliver(database)
    assert told(receiver) == [before, *missed]


def test_switching_off_gives_up_what_waits_and_removing_is_for_good(
    database: Database, receiver: Receiver
) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    tell(database, account_id, LOW)
    remove_endpoint(database, account_id, endpoint_id)
    tell(database, account_id, LOW)
    assert deliver(database) == 0
    assert list_endpoints(database, account_id) == []
    for gone in (
        lambda: remove_endpoint(database, account_id, endpoint_id),
        lambda: replay(database, account_id, endpoint_id, since=clock.now()),
        lambda: list_deliveries(database, account_id, endpoint_id, limit=1),
    ):
        with pytest.raises(NotFound):
            gone()


def test_nobody_replays_another_s_notice(database: Database, receiver: Receiver) -> None:
    account_id, other_id = an_account(database), an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    theirs = tell(database, other_id, LOW)
    for notice_id in (theirs, ids.new_id()):
        with pytest.raises(NotFound) as refused:
            replay(database, account_id, endpoint_id, notice_id=notice_id)
        assert refused.value.param == "notice_id"
    with pytest.raises(NotFound) as refused:
        replay(database, other_id, endpoint_id, notice_id=theirs)
    assert refused.value.param == "endpoint_id"


def test_an_account_has_ten_endpoints_at_the_most(database: Database, receiver: Receiver) -> None:
    account_id = an_account(database)
    endpoint_ids = [open_to(database, receiver, account_id)[0] for _ in range(MAX_ENDPOINTS)]
    with pytest.raises(LimitReached):
        open_to(database, receiver, account_id)
    remove_endpoint(database, account_id, endpoint_ids[0])
    open_to(database, receiver, account_id)


def test_a_private_address_is_not_called_unless_that_is_allowed(
    database: Database, receiver: Receiver
) -> None:
    account_id = an_account(database)
    endpoint_id, _ = open_to(database, receiver, account_id)
    tell(database, account_id, LOW)
    assert deliver_webhooks(database, WebhookSender()) == 1
    assert receiver.calls == []
    (delivery,) = list_deliveries(database, account_id, endpoint_id, limit=10)
    assert delivery.failure == "The host's address is not public."


def test_a_body_is_json_with_amounts_as_text(database: Database, receiver: Receiver) -> None:
    account_id = an_account(database)
    open_to(database, receiver, account_id)
    tell(database, account_id, LOW, balance="0.000000000001")
    deliver(database)
    assert json.loads(receiver.calls[0].body)["data"]["balance"] == "0.000000000001"
