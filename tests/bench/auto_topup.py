"""Ingest in batches of 1,000 over 10,000 accounts while auto top-up buys for 1,000 of them, and while none.

In the storm every tenth account stands at its threshold, so that they fall below it within the first second
or two of the ingest. A worker buys for them, 16 at a time, of a payment processor (the simulator) that takes
half a second for each call and declines every fifth card; its messages come to the same service. Beside it,
the same ingest, with the same processes, where nobody is near a threshold. What is left of the storm when
the ingest has ended is called off.

Service, worker, database, client and the simulator, which in life is somebody else's, share two cores: at
full load, what one spends the others lack. So the second ratio, the service's and the database's processor
time for an event, says what the storm adds there, the messages that the service takes included.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import Final, NamedTuple

import psutil
import psycopg

from metering.storage.database import Database
from tests.bench.client import Driven, Load, drive
from tests.bench.measuring import Options, Result, Series, ratio, share_cores
from tests.bench.service import Stage, checkpoint, cpu_seconds, stage
from tests.payments.subscribed import save_cards, turn_on
from tests.payments.town import Town, open_town, wait_for

BUYERS: Final = 1_000
CARDS: Final = ("pm_card_visa",) * 4 + ("pm_card_chargeCustomerFail",)
# What an endpoint at the processor needn't be told of.
UNTOLD: Final = ("payment_intent.created", "charge.succeeded", "charge.failed")
SLOW_SECONDS: Final = 0.5
THRESHOLD: Final = 10
AMOUNT: Final = 50
SIZE: Final = 1_000
BATCHES: Final = 60
WARM_UP: Final = 10
CONNECTIONS: Final = 4
TARGET: Final = 0.8
# Of the worker's jobs, those that have nothing to do with payments take no part.
_TAKE_JOBS: Final = """
    INSERT INTO jobs (name, leased_by, leased_until)
    SELECT name, 'elsewhere', now() + interval '1 day' FROM unnest(ARRAY['check', 'lots', 'ratings']) AS name
"""
_CALM: Final = "UPDATE balances SET posted_usd = 1000000, auto_topup_below_usd = NULL"
_STORM: Final = """
    UPDATE balances SET posted_usd = threshold_usd, auto_topup_below_usd = threshold_usd
      FROM auto_topups WHERE auto_topups.account_id = balances.account_id
"""
_CALL_OFF: Final = """
    UPDATE top_ups SET state = 'canceled', closed_at = now(), next_attempt_at = NULL WHERE state = 'open'
"""
_COUNT: Final = """
    SELECT count(*), count(*) FILTER (WHERE state = 'succeeded' OR attempts > 0) FROM top_ups
     WHERE created_at >= now() - %s * interval '1 second'
"""
_UNSETTLED: Final = "SELECT count(*) FROM processor_events WHERE state = 'pending'"


class _Part(NamedTuple):
    """One ingest: what the client saw, processor seconds of service and database, falls, purchases tried."""

    driven: Driven
    cpu: float
    others_cpu: float
    falls: int
    tried: int


def run(options: Options) -> Result:
    """Alternate storm and calm for so many rounds."""
    result = Result("auto_topup", __doc__ or "")
    result.facts["cores shared"] = str(share_cores(2))
    with stage(options.say) as ours, closing(Database(ours.url, pool_size=2)) as database:
        result.facts["PostgreSQL"] = ours.version
        cards = [CARDS[number % len(CARDS)] for number in range(BUYERS)]
        wallets = save_cards(ours.home / "stripe.jsonl", cards)
        turn_on(ours.url, ours.accounts[:BUYERS], wallets, threshold=THRESHOLD, amount=AMOUNT)
        with psycopg.connect(ours.url) as connection:
            connection.execute(_TAKE_JOBS)
        with (
            open_town(ours.home, database, ours.url, "smtp://127.0.0.1:9") as town,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as client,
        ):
            town.control.webhooks(drop=True, types=list(UNTOLD))
            _ingest(ours, town, client, 0, WARM_UP)
            rounds = []
            for number in range(1, options.rounds + 1):
                options.say(f"auto_topup: round {number} of {options.rounds}")
                calm = _calm(ours, town, client, number)
                storm = _storm(ours, town, client, number + 1_000)
                rounds.append((calm, storm))
                result.errors += sum(BATCHES * SIZE - part.driven.accepted for part in (calm, storm))
    _report(rounds, result)
    return result


def _calm(ours: Stage, town: Town, client: ProcessPoolExecutor, seed: int) -> _Part:
    _execute(ours, _CALM)
    return _ingest(ours, town, client, seed, BATCHES)


def _storm(ours: Stage, town: Town, client: ProcessPoolExecutor, seed: int) -> _Part:
    _execute(ours, _STORM)
    town.control.fault("slow", method="", times=None, seconds=SLOW_SECONDS)
    part = _ingest(ours, town, client, seed, BATCHES)
    town.control.clear_faults()
    _execute(ours, _CALL_OFF)
    # What was under way ends first, and with it what the processor tells.
    town.control.wait_for_deliveries(120)
    wait_for(lambda: _one(ours, _UNSETTLED) == [0], "messages that are settled")
    return part


def _ingest(ours: Stage, town: Town, client: ProcessPoolExecutor, seed: int, batches: int) -> _Part:
    checkpoint(ours)
    service = psutil.Process(town.service.process.pid)
    others = [psutil.Process(process.process.pid) for process in (town.worker, town.stripe)]
    before = cpu_seconds(service) + cpu_seconds(ours.postgres), sum(map(cpu_seconds, others))
    begun = time.monotonic()
    load = Load(
        town.service.port, "/v1/usage/events", town.token, CONNECTIONS, batches, SIZE, ours.accounts, seed
    )
    driven: Driven = client.submit(drive, load).result()
    cpu = cpu_seconds(service) + cpu_seconds(ours.postgres) - before[0]
    falls, tried = _one(ours, _COUNT, time.monotonic() - begun)
    return _Part(driven, cpu, sum(map(cpu_seconds, others)) - before[1], falls, tried)


def _execute(ours: Stage, statement: str) -> None:
    with psycopg.connect(ours.url, autocommit=True) as connection:
        connection.execute(statement.encode())
        connection.execute("VACUUM (ANALYZE) balances, top_ups")


def _one(ours: Stage, query: str, *given: object) -> list[int]:
    with psycopg.connect(ours.url) as connection:
        return list(connection.execute(query.encode(), given).fetchone() or ())


def _report(rounds: list[tuple[_Part, _Part]], result: Result) -> None:
    calm, storm = ([one[place] for one in rounds] for place in range(2))
    rates: list[list[float]] = []
    costs: list[list[float]] = []
    for name, parts in (("calm", calm), ("storm", storm)):
        events = [len(part.driven.latencies) * SIZE for part in parts]
        rates.append([count / part.driven.seconds for count, part in zip(events, parts, strict=True)])
        costs.append([part.cpu / count * 1e6 for count, part in zip(events, parts, strict=True)])
        worst = [max(part.driven.latencies) * 1e3 for part in parts]
        others = [part.others_cpu / part.driven.seconds for part in parts]
        result.figures += [
            Series(f"{name}: ingest", "events/s", rates[-1]),
            Series(f"{name}: slowest answer to a batch", "ms", worst),
            Series(f"{name}: processor, service and PostgreSQL", "µs/event", costs[-1]),
            Series(f"{name}: processor, worker and simulator", "cores", others),
        ]
    result.figures += [
        Series("storm: falls", "accounts", [part.falls for part in storm]),
        Series("storm: cards tried while ingest went on", "cards", [part.tried for part in storm]),
    ]
    result.ratios.append(ratio("ingest, storm / calm", rates[1], rates[0], TARGET))
    result.ratios.append(ratio("processor for an event, storm / calm", costs[1], costs[0], at_most=True))
