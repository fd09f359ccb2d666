"""Ingest over HTTP in batches of 1,000 over 10,000 accounts, and over one, beside a bare `COPY` of the rows.

`COPY` is what PostgreSQL itself can take: the rows that the service has just recorded go into a table with
the same columns, checks and indexes, by one connection, encoded beforehand, 1,000 rows a commit. It rates
nothing, knows no idempotency, moves no balance, and nobody waits for an answer; so the ratio says what all of
that costs. Client, service and database share two cores. The service is `metering serve` as it is installed,
over its embedded PostgreSQL with the settings it comes with.

Both tables hold 200,000 rows before the first round and grow alike: into an empty table, whose indexes are a
few pages, either is faster than it will ever be again. Rounds alternate; each part begins after a checkpoint.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psycopg

from tests.bench import profiling
from tests.bench.client import Driven, Load, drive
from tests.bench.measuring import Options, Result, Series, ratio, share_cores
from tests.bench.service import (
    ACCOUNTS,
    Server,
    Stage,
    checkpoint,
    count_events,
    cpu_seconds,
    metering_server,
    stage,
)
from tests.bench.workload import id_prefix

SIZE = 1_000
BATCHES = 60
CONNECTIONS = 4
WARM_UP = 10
HOT_BATCHES = 30
TARGET = 0.3
HOT_TARGET = 0.8
# Rows in both tables before the first round.
PRESENT = 200_000
_COLUMNS = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = 'usage_events'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# Each event again: at earlier times, under other ids.
_EARLIER = {"id": "id || '-' || turn", "created_at": "created_at - turn * interval '1 hour'"}
_TWIN = "CREATE TABLE usage_events_copied (LIKE usage_events INCLUDING ALL)"
_FILL_TWIN = "INSERT INTO usage_events_copied SELECT * FROM usage_events"
_OF_ROUND = "COPY (SELECT * FROM usage_events WHERE starts_with(id, '{prefix}')) TO STDOUT"


def run(options: Options) -> Result:
    """Alternate the service and the bare COPY for so many rounds."""
    result = Result("ingest_batches", __doc__ or "")
    result.facts["cores shared"] = str(share_cores(2))
    with stage(options.say) as ours:
        result.facts["PostgreSQL"] = ours.version
        if options.profile:
            profiling.profile(ours, SIZE, result)
            return result
        with (
            metering_server(ours) as server,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as client,
        ):
            rounds = _rounds(ours, server, client, options, result)
    _report(rounds, result)
    return result


def _rounds(
    ours: Stage, server: Server, client: ProcessPoolExecutor, options: Options, result: Result
) -> list[dict[str, float]]:
    def load(batches: int, seed: int, accounts: int = ACCOUNTS) -> Load:
        path = "/v1/usage/events"
        return Load(server.port, path, ours.token, CONNECTIONS, batches, SIZE, ours.accounts[:accounts], seed)

    # The caches first: imports, prepared statements, the file system.
    options.say(f"ingest_batches: filling the tables with {PRESENT:,} rows")
    if client.submit(drive, load(WARM_UP, 0)).result().accepted != WARM_UP * SIZE:
        raise RuntimeError("the service doesn't accept the events")
    _fill(ours)
    rounds = []
    for number in range(1, options.rounds + 1):
        options.say(f"ingest_batches: round {number} of {options.rounds}")
        checkpoint(ours)
        present = count_events(ours)
        before = cpu_seconds(server.process), cpu_seconds(ours.postgres)
        driven: Driven = client.submit(drive, load(BATCHES, number)).result()
        service_cpu = cpu_seconds(server.process) - before[0]
        postgres_cpu = cpu_seconds(ours.postgres) - before[1]
        events = BATCHES * SIZE
        result.errors += driven.errors + events - min(driven.accepted, count_events(ours) - present)
        copied, copy_cpu = _copy(ours, number)
        checkpoint(ours)
        hot: Driven = client.submit(drive, load(HOT_BATCHES, number + 1_000, accounts=1)).result()
        result.errors += hot.errors + HOT_BATCHES * SIZE - hot.accepted
        rounds.append(
            {
                "service": events / driven.seconds,
                "copy": events / copied,
                "hot": HOT_BATCHES * SIZE / hot.seconds,
                "service_cpu": service_cpu / events * 1e6,
                "postgres_cpu": postgres_cpu / events * 1e6,
                "copy_cpu": copy_cpu / events * 1e6,
                "client_cpu": driven.cpu_seconds / events * 1e6,
                "latency": sorted(driven.latencies)[len(driven.latencies) // 2] * 1e3,
            }
        )
    return rounds


def _fill(ours: Stage) -> None:
    """Bring both tables to the rows that they shall hold, as if the service had recorded them before."""
    with psycopg.connect(ours.url, autocommit=True) as connection:
        names = [str(row[0]) for row in connection.execute(_COLUMNS)]
        values = ", ".join(_EARLIER.get(name, name) for name in names)
        turns = PRESENT // count_events(ours) - 1
        fill = f"SELECT {values} FROM usage_events, generate_series(1, {turns}) AS turn"
        connection.execute(f"INSERT INTO usage_events ({', '.join(names)}) {fill}".encode())
        connection.execute(_TWIN)
        connection.execute(_FILL_TWIN)
        connection.execute("VACUUM (ANALYZE)")


def _copy(ours: Stage, seed: int) -> tuple[float, float]:
    """The seconds, and processor seconds, that a bare COPY takes for the rows of a round."""
    with psycopg.connect(ours.url) as connection:
        of_round = _OF_ROUND.format(prefix=id_prefix(seed)).encode()
        with connection.cursor().copy(of_round) as out:
            rows = [bytes(row) for row in out]
        connection.commit()
        batches = [b"".join(rows[start : start + SIZE]) for start in range(0, len(rows), SIZE)]
        checkpoint(ours)
        cpu = cpu_seconds(ours.postgres) + time.process_time()
        started = time.perf_counter()
        for batch in batches:
            with connection.cursor().copy("COPY usage_events_copied FROM STDIN") as into:
                into.write(batch)
            connection.commit()
        seconds = time.perf_counter() - started
        return seconds, cpu_seconds(ours.postgres) + time.process_time() - cpu


def _report(rounds: list[dict[str, float]], result: Result) -> None:
    def values(name: str) -> list[float]:
        return [one[name] for one in rounds]

    result.figures += [
        Series("metering, batches of 1,000", "events/s", values("service")),
        Series("metering, one hot account", "events/s", values("hot")),
        Series("bare COPY", "rows/s", values("copy")),
        Series("answer to a batch, p50", "ms", values("latency")),
        Series("processor: service", "µs/event", values("service_cpu")),
        Series("processor: PostgreSQL", "µs/event", values("postgres_cpu")),
        Series("processor: client", "µs/event", values("client_cpu")),
        Series("processor: bare COPY, client and PostgreSQL", "µs/row", values("copy_cpu")),
    ]
    spent = [
        sum(each) for each in zip(*map(values, ("service_cpu", "postgres_cpu", "client_cpu")), strict=True)
    ]
    result.ratios.append(ratio("metering / bare COPY", values("service"), values("copy"), TARGET))
    result.ratios.append(ratio("one hot account / 10,000", values("hot"), values("service"), HOT_TARGET))
    # Where neighbours keep the cores busy, this one is the steadier.
    result.ratios.append(
        ratio("metering / bare COPY, events per processor second", values("copy_cpu"), spent)
    )
