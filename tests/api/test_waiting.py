"""Nobody waits for ever: a database that hangs is a 503 in the end, and what it came to is not known."""

from __future__ import annotations

import concurrent.futures
import socket
import threading
import time

import anyio
import pytest
from structlog.testing import capture_logs

from metering.api import waiting
from metering.api.waiting import committed, in_thread
from metering.errors import Unavailable
from tests.api.live import Live


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ANSWER_SECONDS", 0.05)


@pytest.mark.usefixtures("_impatient")
def test_a_commit_that_never_comes_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="Send the same again"):
        anyio.run(committed, concurrent.futures.Future[int]())


@pytest.mark.usefixtures("_impatient")
def test_a_use_case_that_never_ends_is_unavailable() -> None:
    never = threading.Event()
    try:
        with pytest.raises(Unavailable, match="Send the same again"):
            anyio.run(in_thread, never.wait)
    finally:
        never.set()


def test_a_client_that_hangs_up_is_no_error_of_ours(live: Live) -> None:
    port = int(live.url.rpartition(":")[2])
    head = "POST /v1/usage/events HTTP/1.1\r\nHost: here\r\nContent-Length: 99\r\n"
    with capture_logs() as logs:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(f"{head}Authorization: {live.service['Authorization']}\r\n\r\n{{".encode())
            time.sleep(0.2)
        until = time.monotonic() + 10
        while not logs and time.monotonic() < until:
            time.sleep(0.01)
    assert [(log["log_level"], log["event"]) for log in logs] == [("info", "the client went away")]
