"""Following `next_cursor` visits every event once, also where thousands share a moment and others arrive."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import httpx
import pytest

from metering import clock
from tests.api.live import Customer, Event, Live

SHARED = clock.now() - timedelta(days=1)
CROWD = 5_000
SOURCES = ("api", "playground")


class Crowd:
    """An account with thousands of events of one moment, and a gateway that never stops sending more."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.customer = live.customer()
        self.events = [self.event(f"first {n}", SHARED, n) for n in range(CROWD)]
        live.send(self.events)
        self._sent = 0

    def event(self, name: str, moment: datetime, n: int) -> Event:
        changes = {"id": name, "created_at": moment.isoformat(), "source": SOURCES[n % 2]}
        return self.customer.event(**changes, status="success" if n % 5 else "error")

    def send_more(self) -> None:
        """Of the same moment, and of ones before and after it."""
        moments = [SHARED + timedelta(microseconds=offset) for offset in (-1, 0, 1)]
        moments += [SHARED - timedelta(hours=1), SHARED + timedelta(hours=1)]
        self._sent += 1
        self.live.send([self.event(f"more {self._sent} {n}", moment, n) for n, moment in enumerate(moments)])

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Others arrive while the block runs."""
        going = threading.Event()
        failures: list[BaseException] = []

        def send() -> None:
            try:
                while not going.wait(0.05):
                    self.send_more()
            except (AssertionError, httpx.HTTPError) as error:
                failures.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            going.set()
            thread.join()
        assert not failures


@pytest.fixture(scope="module")
def crowd(live: Live) -> Crowd:
    """The account."""
    return Crowd(live)


@pytest.mark.parametrize(
    ("limit", "query"),
    [
        (200, {}),
        (7, {}),
        (200, {"source": "api"}),
        (99, {"source": "playground", "status": "error"}),
        (200, {"model": "qwen3-max", "status": "success"}),
        (200, {"from_": SHARED.isoformat(), "to": SHARED.isoformat()}),
    ],
)
def test_every_event_is_visited_once_while_others_arrive(
    crowd: Crowd, limit: int, query: dict[str, str]
) -> None:
    wanted = {
        event["id"]
        for event in crowd.events
        if query.get("source") in {None, event["source"]} and query.get("status") in {None, event["status"]}
    }
    seen: list[Event] = []
    with crowd.arriving():
        for page in crowd.live.pages(crowd.customer, limit=limit, **query):
            assert len(page["data"]) == limit or not page["has_more"]
            seen += page["data"]
    visits = Counter(event["id"] for event in seen)
    assert max(visits.values()) == 1
    assert wanted <= visits.keys()
    assert {name for name in visits if name.startswith("first")} == wanted
    times = [event["created_at"] for event in seen]
    assert times == sorted(times, reverse=True)


def test_what_shares_a_moment_stands_latest_recorded_first(crowd: Crowd) -> None:
    pages = crowd.live.pages(crowd.customer, limit=200, from_=SHARED.isoformat(), to=SHARED.isoformat())
    names = [event["id"] for page in pages for event in page["data"]]
    assert names[-CROWD:] == [event["id"] for event in reversed(crowd.events)]


def test_the_summaries_of_all_pages_add_up_to_the_spend(crowd: Crowd) -> None:
    pages = list(crowd.live.pages(crowd.customer, limit=200))
    assert {page["spend"]["total"] for page in pages} == {
        sum(page["summary"]["total_cost"] for page in pages)
    }


@pytest.mark.parametrize(("count", "limit"), [(0, 1), (1, 1), (6, 3), (7, 3), (3, 3), (200, 200), (201, 200)])
def test_the_last_page_says_that_it_is_the_last(
    live: Live, customer: Customer, count: int, limit: int
) -> None:
    live.send([customer.event() for _ in range(count)])
    pages = list(live.pages(customer, limit=limit))
    full, rest = divmod(count, limit)
    assert [len(page["data"]) for page in pages] == [limit] * full + [rest] * (rest > 0 or not full)
    assert pages[-1]["next_cursor"] is None
    assert pages[-1]["has_more"] is False


def test_a_cursor_is_a_date_time_between_its_page_and_the_next(live: Live, customer: Customer) -> None:
    moments = [SHARED - timedelta(seconds=n) for n in range(4)]
    live.send([customer.event(created_at=moment.isoformat()) for moment in moments])
    cursor = live.usage(customer, limit=2)["next_cursor"]
    # Seconds of a date-time may have any number of digits (RFC 3339, 5.6): ours carry the place among equals.
    assert cursor.startswith(moments[1].isoformat().removesuffix("+00:00"))
    assert cursor.endswith("Z")
    # A client may also go on from the time of the last event that it has seen.
    by_time = live.usage(customer, before=moments[1].isoformat())
    by_cursor = live.usage(customer, before=cursor)
    assert by_time["data"] == by_cursor["data"]
    assert len(by_time["data"]) == 2


def test_a_cursor_stays_good_when_filters_and_limit_change(live: Live, customer: Customer) -> None:
    names = [f"e{n}" for n in range(10)]
    live.send(
        [
            customer.event(id=name, created_at=SHARED.isoformat(), source=SOURCES[n % 2])
            for n, name in enumerate(names)
        ]
    )
    cursor = live.usage(customer, limit=4)["next_cursor"]
    assert [event["id"] for event in live.usage(customer, before=cursor)["data"]] == names[5::-1]
    narrowed = live.usage(customer, before=cursor, source="api", limit=2)
    assert [event["id"] for event in narrowed["data"]] == ["e4", "e2"]
    assert narrowed["has_more"]
