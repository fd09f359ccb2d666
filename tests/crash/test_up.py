"""`metering up` from nothing to the first priced event, and again over what it left."""

from __future__ import annotations

import json
import re
import shlex
import signal
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.crash.conftest import ServiceOn, postmasters
from tests.crash.service import Line, Service
from tests.crash.traffic import new_event

STEPS = ("database", "schema", "price book", "payments", "demo account", "serving")
KEYS = {"base_url", "service_token", "account_id", "api_key"}


@pytest.fixture(params=["embedded", "METERING_DATABASE_URL"])
def up(
    request: pytest.FixtureRequest, service_on: ServiceOn, home: Path, empty_database_url: str
) -> Iterator[Service]:
    """`metering up` in an empty home, running; on a database of its own, and on one that is given."""
    given = {} if request.param == "embedded" else {"METERING_DATABASE_URL": empty_database_url}
    service = service_on("up", METERING_HOME=str(home), **given)
    service.start()
    assert len(postmasters(home)) == (request.param == "embedded")
    yield service
    if service.is_running:
        service.tell(signal.SIGINT)
        assert service.ended() == 0
    assert postmasters(home) == []


def demo(home: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((home / "demo.json").read_text())
    assert found.keys() == KEYS
    assert (home / "demo.json").stat().st_mode & 0o777 == 0o600
    return found


def curl(command: str) -> Any:  # noqa: ANN401  (JSON)
    """What the command would fetch, whether there is a curl or not."""
    words = iter(shlex.split(command.replace("\\\n", " ")))
    assert next(words) == "curl"
    assert next(words) == "-s"
    request = urllib.request.Request(next(words))
    for option in words:
        if option == "-H":
            request.add_header(*next(words).split(": "))
        else:
            assert option == "-d"
            request.data = next(words).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status in {200, 201}
        return json.load(answer, parse_float=Decimal)


def history(service: Service, home: Path) -> Any:  # noqa: ANN401  (JSON)
    with Line(service.port, demo(home)["api_key"]) as line:
        return line.get("/v1/account/usage").body


def test_from_nothing_to_the_first_priced_event(up: Service, home: Path) -> None:
    said = up.said()
    steps = [re.search(rf"^{step} .* \d+\.\d s( in all)?$", said, re.MULTILINE) for step in STEPS]
    positions = [step.start() for step in steps if step is not None]
    assert len(positions) == len(STEPS)
    assert positions == sorted(positions)
    found = demo(home)
    assert found["base_url"] == f"http://127.0.0.1:{up.port}"
    assert found["api_key"].startswith("sk-empiriolabs-")
    assert history(up, home)["balance"]["amount"] == 100

    post, read, buy = re.findall(r"^  (curl .*(?:\n    .*)*)", said, re.MULTILINE)
    (result,) = curl(post)["results"]
    assert result["status"] == "accepted"
    assert result["cost_usd"] > 0
    assert result["balance"] == 100 - result["cost_usd"]
    shown = curl(read)
    assert shown == history(up, home)
    assert [event["cost"]["amount"] for event in shown["data"]] == [result["cost_usd"]]
    assert shown["balance"]["amount"] == result["balance"]
    assert "PAYMENTS ARE SIMULATED" in said
    page = curl(buy)["url"]
    assert page.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(page, timeout=30) as answer:
        assert b"no real money" in answer.read()


def interrupt(service: Service) -> None:
    service.tell(signal.SIGINT)
    assert service.ended() == 0
    assert service.said().endswith("stopped\n")


@pytest.mark.parametrize("end", [interrupt, Service.kill])
def test_again_it_opens_what_it_left(up: Service, home: Path, end: Callable[[Service], None]) -> None:
    first = demo(home)
    with Line(up.port, first["service_token"]) as line:
        line.post("/v1/usage/events", new_event("kept", first["account_id"]))
    before = history(up, home)
    assert [event["id"] for event in before["data"]] == ["kept"]
    beside = psutil.Process(up.process.pid).children()
    assert len(beside) == 2, "the worker and the simulator of payments"
    end(up)
    assert not psutil.wait_procs(beside, timeout=30)[1], "they end with it, however it ended"
    up.start()
    assert demo(home) == first
    assert history(up, home) == before


@pytest.mark.slow
def test_a_first_start_that_was_killed_half_way_is_made_good(home: Path, service_on: ServiceOn) -> None:
    service = service_on("up", METERING_HOME=str(home))
    for step in ("making a database", "starting the embedded", "schema  "):
        service.launch()
        service.wait_until_said(step)
        service.kill()
    service.start()
    assert history(service, home)["balance"]["amount"] == 100
    interrupt(service)
    assert postmasters(home) == []
