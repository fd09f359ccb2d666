"""A hold over HTTP, beside the same SQL in pgbench, both at a steady 500 a second over 10,000 accounts.

pgbench sends the statements of `POST /v1/holds` in the same two round trips between BEGIN and COMMIT,
prepared, from 16 connections, at random times (`--rate`), and counts a latency from when its transaction
was due; so does our client. It decides nothing: no key, limit or credit is looked at, so the ratio says what
HTTP, the decision and the way to the group commit add. Below it, what the service grants at full load to 1,
16 and 64 clients, each asking again as soon as it is answered. Client, service and database share two
cores; fsync is on.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import psycopg

from metering.storage import balances, embedded, holds, request_rates
from tests.bench.client import Driven, Load, drive
from tests.bench.measuring import Options, Result, Series, ratio, share_cores
from tests.bench.service import ACCOUNTS, Stage, checkpoint, cpu_seconds, metering_server, stage

RATE = 500
SECONDS = 4
CONNECTIONS = 16
CROWDS = (1, 16, 64)
CROWD_SECONDS = 2.0
# More than can be answered in the time.
REQUESTS = 30_000
AT_MOST = 3.0
ACCOUNT = "('00000000-0000-7000-8000-' || lpad(%s, 12, '0'))::uuid"
_OPEN = f"""
    WITH opened AS (
        INSERT INTO accounts (account_id, name, created_at, requests_per_minute, tokens_per_minute)
        SELECT {ACCOUNT % "n::text"}, 'Account ' || n, now(), 1000000000, 1000000000000
          FROM generate_series(1, {ACCOUNTS}) AS n RETURNING account_id)
    INSERT INTO balances (account_id, posted_usd) SELECT account_id, 1000000 FROM opened
    RETURNING account_id::text
"""


def run(options: Options) -> Result:
    """Alternate pgbench and the service for so many rounds."""
    result = Result("holds", __doc__ or "")
    result.facts["cores shared"] = str(share_cores(2))
    with (
        stage(options.say) as ours,
        metering_server(ours) as server,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as client,
    ):
        result.facts["PostgreSQL"] = ours.version
        with psycopg.connect(ours.url, autocommit=True) as connection:
            accounts = [row[0] for row in connection.execute(_OPEN)]
        rounds: list[_Round] = []
        # The first round warms the caches and isn't told.
        for number in range(options.rounds + 1):
            options.say(f"holds: round {number} of {options.rounds}")
            _empty(ours)
            theirs = _pgbench(ours)
            _empty(ours)
            load = Load(server.port, "/v1/holds", ours.token, CONNECTIONS, 0, 1, accounts, number, holds=True)
            before = cpu_seconds(server.process), cpu_seconds(ours.postgres)
            paced: Driven = client.submit(drive, load._replace(batches=RATE * SECONDS, rate=RATE)).result()
            cpu = cpu_seconds(server.process) - before[0], cpu_seconds(ours.postgres) - before[1]
            full: dict[int, Driven] = {}
            for crowd in CROWDS:
                _empty(ours)
                hurry = load._replace(connections=crowd, batches=REQUESTS, seconds=CROWD_SECONDS)
                full[crowd] = client.submit(drive, hurry._replace(seed=number * 100 + crowd)).result()
            for driven in (paced, *full.values()):
                result.errors += len(driven.latencies) - driven.accepted
            rounds.append(_Round(theirs, paced, cpu, full))
    _report(rounds[1:], result)
    return result


class _Round(NamedTuple):
    """What one round took: pgbench's latencies, ours at the same rate with processor seconds, the crowds."""

    theirs: list[float]
    paced: Driven
    cpu: tuple[float, float]
    full: dict[int, Driven]


def _empty(ours: Stage) -> None:
    with psycopg.connect(ours.url, autocommit=True) as connection:
        connection.execute("TRUNCATE holds, hold_extensions, request_rates")
        connection.execute("UPDATE balances SET held_usd = 0 WHERE held_usd > 0")
        connection.execute("VACUUM (ANALYZE) balances")
    checkpoint(ours)


def _pgbench(ours: Stage) -> list[float]:
    """Seconds from when each transaction was due to its end."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "hold.sql"
        script.write_text(_script())
        log = Path(directory) / "log"
        command = [
            str(next(embedded._installed()) / "pgbench"), "--no-vacuum", "--protocol=prepared", "--log",
            f"--log-prefix={log}",
            f"--client={CONNECTIONS}", "--jobs=1", f"--rate={RATE}", f"--time={SECONDS}", f"--file={script}",
        ]  # fmt: skip
        settings = {**os.environ, "PGOPTIONS": "-c role=metering_service"}
        done = subprocess.run([*command, ours.url], env=settings, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pgbench failed: {done.stderr[-2_000:]}")
        lines = [line.split() for part in Path(directory).glob("log.*") for line in part.open()]
    return [int(line[2]) / 1e6 for line in lines]


def _script() -> str:
    """What a hold says to the database, for an account at random."""
    account = f"ARRAY[{ACCOUNT % ':n::text'}]"
    asked = [account, "'{}'", "'{}'"]
    now, later = "ARRAY[now()]", "ARRAY[now() + interval '10 minutes']"
    row = [account, "ARRAY[gen_random_uuid()]", "'{0.05}'", "'{0.05}'", "'{NULL}'", "'{NULL}'", "'{1000}'",
           "ARRAY[gen_random_uuid()::text]", "'{\\\\x00}'", now, later]  # fmt: skip
    read = [
        _inline(holds._PIN),
        _inline(balances._LOCK_ASKED.decode(), *asked),
        _inline(request_rates._FIND, *asked),
        _inline(holds._FIND_ENDING, *asked, "now()"),
        _inline(holds._FIND_BY_KEY, account, "'{NULL}'", "ARRAY[gen_random_uuid()::text]"),
    ]
    written = [
        _inline(holds._INSERT, *row),
        _inline(balances._SET_HELD, account, "ARRAY[:h::numeric]"),
        _inline(request_rates._KEEP, account, now, "'{1}'", "'{1000}'", "'{0}'", "'{0}'"),
    ]
    numbers = [f"\\set n random(1, {ACCOUNTS})", "\\set h random(1, 100)"]
    reads, writes = (["\\startpipeline", *part, "\\endpipeline"] for part in (read, written))
    return "\n".join([*numbers, "BEGIN;", *reads, *writes, "COMMIT;", ""])


def _inline(statement: str, *expressions: str) -> str:
    """The statement with an expression for each parameter, as one command of pgbench."""
    parts = statement.split("%s")
    assert len(parts) == len(expressions) + 1, statement
    whole = "".join(part + value for part, value in zip(parts, [*expressions, ""], strict=True))
    return " ".join(whole.split()) + ";"


def _report(rounds: list[_Round], result: Result) -> None:
    for part in (0.5, 0.99):
        theirs = [_percentile(one.theirs, part) for one in rounds]
        ours = [_percentile(one.paced.latencies, part) for one in rounds]
        name = f"p{part * 100:.0f}"
        result.figures += [
            Series(f"metering at {RATE} a second, {name}", "ms", ours),
            Series(f"pgbench at {RATE} a second, {name}", "ms", theirs),
        ]
        result.ratios.append(ratio(f"metering / pgbench, {name}", ours, theirs, AT_MOST, at_most=True))
    for place, name in enumerate(["service", "PostgreSQL"]):
        each = [one.cpu[place] / len(one.paced.latencies) * 1e6 for one in rounds]
        result.figures.append(Series(f"processor at {RATE} a second: {name}", "µs/hold", each))
    for crowd in CROWDS:
        runs = [one.full[crowd] for one in rounds]
        rates = [len(run.latencies) / run.seconds for run in runs]
        result.figures += [
            Series(f"full load, {crowd} clients", "holds/s", rates),
            Series(
                f"full load, {crowd} clients, p99", "ms", [_percentile(one.latencies, 0.99) for one in runs]
            ),
        ]


def _percentile(seconds: list[float], part: float) -> float:
    return sorted(seconds)[int(len(seconds) * part)] * 1e3
