"""Overlapping batches of usage events for a crowd of clients, and what must be true of them afterwards."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import psycopg

from metering.money import PICO_PER_USD, to_decimal
from metering.services.accounts import create_account
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.services.service_tokens import Scope, create_service_token
from metering.storage.database import Database
from tests.crash.service import Answer

CREDIT_PICO: Final = 1_000 * PICO_PER_USD
_CREDIT: Final = Wanted("paid", CREDIT_PICO, "to be used up", actor="a test")
_MODELS: Final = ("qwen3-max", "deepseek-v4-pro", "no-such-model")
_SOURCES: Final = ("api", "playground", "gpu_cloud", "hosted_agents")

Event = dict[str, Any]
Key = tuple[str, str]


class World(NamedTuple):
    """What there is before the first event: accounts with credit, and a gateway's token."""

    accounts: list[str]
    token: str


def open_world(database: Database, accounts: int) -> World:
    """Accounts with CREDIT_PICO each, and a service token with every scope."""
    _, token = create_service_token(database, name="gateway", scopes=Scope)
    world = World(
        [create_account(database, f"Account {n}").account.account_id for n in range(accounts)], token
    )
    for account_id in world.accounts:
        grant_credit(database, account_id, _CREDIT, "credit")
    return world


def new_event(id: str, account_id: str, model: str = "qwen3-max") -> Event:
    """An event as simple as can be."""
    usage = {"prompt_tokens": 1_000, "completion_tokens": 10}
    return {"id": id, "account_id": account_id, "model": model, "usage": usage, "metadata": {"body": "first"}}


class Traffic:
    """The same batches for the same seed: ids repeat within and between them, one in 50 with another body.

    Each event tells its body by `metadata.body`, so that it can be seen whose was recorded.
    """

    def __init__(self, accounts: Sequence[str], *, ids: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._now = datetime.now(UTC) - timedelta(hours=30)
        self._accounts = accounts
        self._events = [self._event(number) for number in range(ids)]

    def batch(self, size: int) -> list[Event]:
        """A batch of events, some of them twice."""
        chosen = self._random.choices(self._events, k=size)
        return [self._rival(one) if self._random.randrange(50) == 0 else one for one in chosen]

    def _event(self, number: int) -> Event:
        usage = {"prompt_tokens": 100 + number, "completion_tokens": self._random.randrange(1, 2_000)}
        return {
            "id": f"event-{number}",
            "account_id": self._random.choice(self._accounts),
            "created_at": (self._now + timedelta(seconds=17 * number % 100_000)).isoformat(),
            "model": self._random.choices(_MODELS, weights=[10, 10, 1])[0],
            "source": self._random.choice(_SOURCES),
            "usage": usage,
            "metadata": {"body": "first"},
        }

    @staticmethod
    def _rival(event: Event) -> Event:
        return {**event, "usage": {"prompt_tokens": 7}, "metadata": {"body": "rival"}}


class Ledger:
    """What the clients were told, kept by all threads together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[tuple[Event, dict[str, Any]]] = []
        self.calls = 0
        self.lost = 0

    def note(self, batch: Sequence[Event], answer: Answer, lost: int = 0) -> None:
        """A batch was answered, after so many attempts in vain."""
        assert answer.status == 200, answer
        results = answer.body["results"]
        assert [result["id"] for result in results] == [event["id"] for event in batch]
        with self._lock:
            self._told += zip(batch, results, strict=True)
            self.calls += 1
            self.lost += lost

    def answered(self) -> set[Key]:
        """The events that some client knows to be kept."""
        return {_key(event) for event, result in self._told if result["status"] != "rejected"}

    def check(self, url: str, world: World) -> None:
        """Every answer is what is recorded, each event is charged once, and the books agree."""
        recorded = read_events(url)
        assert self.answered() <= recorded.keys()
        accepted: Counter[Key] = Counter()
        for event, result in self._told:
            key = _key(event)
            stored = recorded[key]
            if event["metadata"]["body"] != stored["body"]:
                assert result["status"] == "conflict", (event, result)
                continue
            priced = stored["cost"] is not None
            assert result["status"] in {"duplicate", "accepted" if priced else "unpriced"}, (event, result)
            assert result.get("cost_usd") == stored["cost"], (event, result)
            assert result["usage"]["cost_usd"] == stored["cost"]
            assert result["balance"] == stored["balance"]
            accepted[key] += result["status"] != "duplicate"
        assert not [key for key, times in accepted.items() if times > 1]
        check_money(url, world)


def check_money(url: str, world: World) -> None:
    """Σ events = Σ usage transfers = Σ rollups = the fall of the balance, and no law is broken."""
    events: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (account_id, _), event in read_events(url).items():
        events[account_id] += event["cost"] or 0
    transfers = _sums(url, "sum(amount_usd) FROM transfers WHERE kind = 'usage' GROUP BY 1")
    rollups = _sums(url, "sum(cost_usd) FROM usage_rollups GROUP BY 1")
    posted = _sums(url, "posted_usd FROM balances")
    for account_id in world.accounts:
        fall = to_decimal(CREDIT_PICO) - posted[account_id]
        assert events[account_id] == transfers.get(account_id, 0) == rollups.get(account_id, 0) == fall
    database = Database(url)
    try:
        assert check_books(database) == []
    finally:
        database.close()


def read_events(url: str) -> dict[Key, dict[str, Any]]:
    """What is recorded of each event: `cost` (None if unpriced), `balance` after it, whose `body`."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT account_id::text, id, cost_usd, balance_after_usd, metadata->>'body' FROM usage_events"
        ).fetchall()
    found = {
        (account_id, event_id): {"cost": cost, "balance": balance, "body": body}
        for account_id, event_id, cost, balance, body in rows
    }
    assert len(found) == len(rows)
    return found


def _key(event: Event) -> Key:
    return event["account_id"], event["id"]


def _sums(url: str, query: str) -> dict[str, Decimal]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute(f"SELECT account_id::text, {query}".encode()).fetchall())
