"""Where a batch's time goes: the service's own steps in this process, by the clock and under cProfile.

One thread and no HTTP, so that nothing hides: decode, rate and encode, record, answer.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections import defaultdict
from datetime import timedelta

from metering import clock
from metering.api.event_bodies import Received, read_events
from metering.api.usage_answers import results_json
from metering.services.ingest import Ingest
from metering.services.posting import Prepared, Refused
from metering.storage.database import Database
from metering.usage.event import UsageEvent
from tests.bench.measuring import Result, Series
from tests.bench.rating_ours import rater
from tests.bench.service import Stage, cpu_seconds, reset
from tests.bench.workload import bodies

BATCHES = 30
TOP = 25


def profile(stage: Stage, size: int, result: Result) -> None:
    """Add the steps' microseconds an event, and cProfile's list as a remark."""
    database = Database(stage.url)
    ingest = Ingest(database, rater(), max_age=timedelta(days=90), max_future=timedelta(minutes=5))
    _pass(ingest, bodies(3, size, stage.accounts, 101), defaultdict(float))
    reset(stage)
    steps: dict[str, float] = defaultdict(float)
    before, own = cpu_seconds(stage.postgres), time.process_time()
    _pass(ingest, bodies(BATCHES, size, stage.accounts, 102), steps)
    steps["PostgreSQL's processor time"] = cpu_seconds(stage.postgres) - before
    steps["our processor time"] = time.process_time() - own
    result.figures += [
        Series(name, "µs/event", [seconds / BATCHES / size * 1e6]) for name, seconds in steps.items()
    ]
    reset(stage)
    work = bodies(BATCHES, size, stage.accounts, 103)
    profiler = cProfile.Profile()
    profiler.runcall(_pass, ingest, work, defaultdict(float))
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(TOP)
    result.remarks.append(text.getvalue())
    database.close()


def _pass(ingest: Ingest, work: list[bytes], steps: dict[str, float]) -> None:
    for body in work:
        started = time.perf_counter()
        now = clock.now()
        received: list[Received] = read_events(body, "application/json", {}, now)
        decoded = time.perf_counter()
        prepared: list[Prepared | Refused] = [
            ingest.prepare(one.event, now) for one in received if isinstance(one.event, UsageEvent)
        ]
        rated = time.perf_counter()
        outcomes = ingest.record(prepared)
        recorded = time.perf_counter()
        results_json(received, outcomes)
        steps["decode"] += decoded - started
        steps["rate and encode"] += rated - decoded
        steps["record"] += recorded - rated
        steps["answer"] += time.perf_counter() - recorded
