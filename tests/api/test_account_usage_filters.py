"""`GET /v1/account/usage`: all filters together, the spend of a window, and what a query may not say."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering import clock
from tests.api.live import Customer, Live, error_of
from tests.contract.account_usage import validate_error

PATH = "/v1/account/usage"
COST = Decimal("0.001632")
SOURCES = ["api", "playground", "gpu_cloud", "hosted_agents"]


class Row(NamedTuple):
    """What the naive sums below know of an event."""

    id: str
    created_at: datetime
    source: str
    model: str
    status: str
    cost: Decimal


class World(NamedTuple):
    """An account with a history, newest first."""

    customer: Customer
    rows: list[Row]


HOUR = timedelta(hours=1)
START = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
# Around whole hours lies what spend's ragged edges could get wrong.
MOMENTS = [
    START + hours * HOUR + offset
    for hours in range(6)
    for offset in (
        timedelta(0),
        timedelta(microseconds=1),
        timedelta(minutes=17, seconds=3, microseconds=250_000),
        timedelta(minutes=17, seconds=3, microseconds=250_001),
        HOUR - timedelta(microseconds=1),
    )
]


@pytest.fixture(scope="module")
def world(live: Live) -> World:
    """Four hundred events, many of which share a moment."""
    chance = random.Random(7)
    customer = live.customer()
    models = ["qwen3-max", "deepseek-v4-pro", "nobody-s-model"]
    events = [
        customer.event(
            created_at=chance.choice(MOMENTS).isoformat(),
            source=chance.choice(SOURCES),
            model=chance.choice(models),
            status=chance.choice(["success", "success", "error"]),
            usage={"prompt_tokens": chance.randint(0, 200_000), "completion_tokens": chance.randint(0, 9)},
        )
        for _ in range(400)
    ]
    results = [result for start in range(0, 400, 100) for result in live.send(events[start : start + 100])]
    rows = [
        Row(
            event["id"],
            datetime.fromisoformat(event["created_at"]),
            event["source"],
            event["model"],
            event["status"],
            Decimal(result.get("cost_usd", 0)),
        )
        for event, result in zip(events, results, strict=True)
    ]
    rows.reverse()
    # Newest first; what shares a moment, latest recorded first.
    return World(customer, sorted(rows, key=lambda row: -row.created_at.timestamp()))


def naive_spend(rows: list[Row], since: datetime | None, until: datetime | None) -> dict[str, Decimal]:
    within = [row for row in rows if (since or START) <= row.created_at <= (until or clock.now())]

    def spent(*sources: str) -> Decimal:
        return sum((row.cost for row in within if row.source in sources), Decimal(0))

    return {
        "total": spent(*SOURCES),
        "model": spent("api", "playground"),
        "gpu_cloud": spent("gpu_cloud"),
        "hosted_agents": spent("hosted_agents"),
    }


def text_of(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


EDGES = (
    st.none()
    | st.sampled_from(MOMENTS)
    | st.datetimes(
        (START - HOUR).replace(tzinfo=None), (START + 7 * HOUR).replace(tzinfo=None), timezones=st.just(UTC)
    )
)


@settings(max_examples=150, deadline=None)
@given(
    times=st.fixed_dictionaries({"from": EDGES, "to": EDGES, "before": EDGES}),
    source=st.none() | st.sampled_from(SOURCES),
    model=st.none() | st.sampled_from(["qwen3-max", "deepseek-v4-pro", "nobody-s-model", "none"]),
    status=st.none() | st.sampled_from(["success", "error"]),
    limit=st.none() | st.sampled_from([1, 7, 200]),
)
def test_filters_spend_and_summary_are_those_of_a_naive_scan(
    live: Live,
    world: World,
    times: dict[str, datetime | None],
    source: str | None,
    model: str | None,
    status: str | None,
    limit: int | None,
) -> None:
    since, until, before = times["from"], times["to"], times["before"]
    named = {name: text_of(value) for name, value in times.items()}
    shown = live.usage(world.customer, source=source, model=model, status=status, limit=limit, **named)
    wanted = [
        row
        for row in world.rows
        if (since is None or row.created_at >= since)
        and (until is None or row.created_at <= until)
        and (before is None or row.created_at < before)
        and source in {None, row.source}
        and model in {None, row.model}
        and status in {None, row.status}
    ]
    page = wanted[: limit or 100]
    assert [event["id"] for event in shown["data"]] == [row.id for row in page]
    assert shown["has_more"] is (len(wanted) > len(page))
    assert shown["summary"]["requests"] == len(page)
    assert shown["summary"]["total_cost"] == sum(row.cost for row in page)
    assert shown["summary"]["errors"] == sum(row.status == "error" for row in page)
    spend = shown["spend"]
    assert {name: spend[name] for name in ("total", "model", "gpu_cloud", "hosted_agents")} == naive_spend(
        world.rows, since, until
    )
    assert [spend["from"], spend["to"]] == [text_of(since), text_of(until)]


def test_bounds_are_inclusive_and_before_is_not(live: Live, customer: Customer) -> None:
    moment = MOMENTS[7]
    live.send([customer.event(created_at=moment.isoformat())])
    least = timedelta(microseconds=1)
    for query, count in (
        ({"from_": moment}, 1),
        ({"from_": moment + least}, 0),
        ({"to": moment}, 1),
        ({"to": moment - least}, 0),
        ({"from_": moment, "to": moment}, 1),
        ({"from_": moment + least, "to": moment - least}, 0),
        ({"before": moment}, 0),
        ({"before": moment + least}, 1),
    ):
        shown = live.usage(customer, **{name: text_of(value) for name, value in query.items()})
        assert len(shown["data"]) == count, query
        if "before" not in query:
            assert shown["spend"]["total"] == count * COST, query


@pytest.mark.parametrize("spell", [
    lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    lambda at: at.strftime("%Y-%m-%dt%H:%M:%Sz"),
    lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.000000000Z"),
    lambda at: at.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
    lambda at: at.strftime("%Y-%m-%dT%H:%M:%S-00:00"),
    lambda at: (at + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S+05:30"),
])  # fmt: skip
def test_a_moment_may_be_spelt_in_any_way_of_rfc_3339(
    live: Live, customer: Customer, spell: Callable[[datetime], str]
) -> None:
    moment = MOMENTS[5]
    live.send([customer.event(created_at=moment.isoformat())])
    # A `+` that a client did not escape arrives as a space.
    for given_ in (spell(moment), spell(moment).replace("+", " ")):
        shown = live.usage(customer, from_=given_, to=given_)
        assert len(shown["data"]) == 1
        assert shown["spend"]["from"] == shown["spend"]["to"] == text_of(moment)


BAD_LIMITS = ["0", "201", "-1", "x", "", "1.0", "1e2", "١", "+5", "%205", "1_0", "9" * 99]
BAD_MOMENTS = [
    "",
    "yesterday",
    "1767225600",
    "2026-05-06",
    "2026-05-06T00:00:00",
    "2026-05-06 00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-05-06T25:00:00Z",
    "2026-05-06T00:00:00%2B99:00",
    "٢٠٢٦-05-06T00:00:00Z",
    "0001-01-01T00:00:00%2B01:00",
    "9999-12-31T23:59:59-01:00",
    "2026-05-06T00:00:00Z%00",
    "2026-05-06T00:00:00Z%0A",
]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        *[(f"limit={limit}", "limit") for limit in BAD_LIMITS],
        *[(f"{name}={moment}", name) for name, moment in product(("before", "from", "to"), BAD_MOMENTS)],
        ("source=gpu", "source"),
        ("source=", "source"),
        ("source=API", "source"),
        ("status=ok", "status"),
        ("model=a%00b", "model"),
        ("colour=red", "colour"),
        ("Limit=5", "Limit"),
        ("=5", ""),
        ("limit=5&limit=5", "limit"),
        ("model=a&model=b", "model"),
    ],
)
def test_a_bad_query_is_refused_with_the_parameter(
    live: Live, customer: Customer, query: str, param: str
) -> None:
    answer = live.http.get(f"{PATH}?{query}", headers=customer.headers)
    assert answer.status_code == 400, answer.text
    validate_error(answer.json())
    error: dict[str, Any] = error_of(answer)
    assert (error["code"], error["param"]) == ("invalid_parameter", param)
