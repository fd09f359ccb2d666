"""Single events over HTTP from 16 keep-alive connections, beside the same server's POST that does nothing.

The no-op is what Litestar on uvicorn (uvloop, httptools) can answer at the most, to the same client, for
requests of the same size; the ratio says what authentication, rating, group commit and the database take of
it. Client, service and database share two cores. The service is `metering serve` over its embedded
PostgreSQL, fsync on: an event is answered after its COMMIT.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.bench.client import Driven, Load, drive
from tests.bench.measuring import Options, Result, Series, ratio, share_cores
from tests.bench.service import Stage, count_events, cpu_seconds, metering_server, noop_server, reset, stage

CONNECTIONS = 16
SECONDS = 3.0
# More than can be answered in the time.
REQUESTS = 75_000
TARGET = 0.2


def run(options: Options) -> Result:
    """Alternate the service and the no-op for so many rounds."""
    result = Result("ingest_singles", __doc__ or "")
    result.facts["cores shared"] = str(share_cores(2))
    with (
        stage(options.say) as ours,
        metering_server(ours) as server,
        noop_server() as noop,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as client,
    ):
        result.facts["PostgreSQL"] = ours.version
        rounds: list[tuple[Driven, Driven, float, float]] = []
        for number in range(options.rounds + 1):
            options.say(f"ingest_singles: round {number} of {options.rounds}")
            reset(ours)
            load = _load(ours, server.port, "/v1/usage/events", number)
            before = cpu_seconds(server.process), cpu_seconds(ours.postgres)
            driven: Driven = client.submit(drive, load).result()
            service_cpu = cpu_seconds(server.process) - before[0]
            postgres_cpu = cpu_seconds(ours.postgres) - before[1]
            answered = len(driven.latencies)
            if not driven.accepted:
                raise RuntimeError("the service doesn't accept the events")
            result.errors += driven.errors + answered - min(driven.accepted, count_events(ours))
            nothing: Driven = client.submit(drive, _load(ours, noop.port, "/", number)).result()
            result.errors += nothing.errors
            rounds.append(
                (
                    driven,
                    nothing,
                    service_cpu / answered * 1e6,
                    postgres_cpu / answered * 1e6,
                )
            )
    _report(rounds[1:], result)
    return result


def _load(ours: Stage, port: int, path: str, number: int) -> Load:
    seconds = SECONDS if number else SECONDS / 3
    return Load(port, path, ours.token, CONNECTIONS, REQUESTS, 1, ours.accounts, number + 1, seconds)


def _report(rounds: list[tuple[Driven, Driven, float, float]], result: Result) -> None:
    rates = []
    for index, name in enumerate(["metering", "no-op POST"]):
        runs = [(one[0], one[1])[index] for one in rounds]
        rates.append([len(run.latencies) / run.seconds for run in runs])
        result.figures += [
            Series(f"{name}, single events", "requests/s", rates[-1]),
            Series(f"{name}, p50", "ms", [_percentile(run, 0.5) for run in runs]),
            Series(f"{name}, p99", "ms", [_percentile(run, 0.99) for run in runs]),
            Series(
                f"{name}, processor: client",
                "µs/event",
                [run.cpu_seconds / len(run.latencies) * 1e6 for run in runs],
            ),
        ]
    result.figures += [
        Series("processor: service", "µs/event", [one[2] for one in rounds]),
        Series("processor: PostgreSQL", "µs/event", [one[3] for one in rounds]),
    ]
    result.ratios.append(ratio("metering / no-op POST", rates[0], rates[1], TARGET))


def _percentile(run: Driven, part: float) -> float:
    return sorted(run.latencies)[int(len(run.latencies) * part)] * 1e3
