"""The simulator as a process of its own, as `metering stripe-simulator` runs it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.simulator.control import Control


@contextmanager
def simulator(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process and its URL; killed in the end."""
    command = [sys.executable, "-m", "metering", "stripe-simulator", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def client(url: str) -> stripe.StripeClient:
    """The SDK at that URL."""
    return stripe.StripeClient("sk_test_process", base_addresses={"api": url}, max_network_retries=0)


def test_what_it_kept_is_there_after_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "stripe" / "objects.jsonl"
    with simulator("--data", str(data)) as (url, _):
        api = client(url).v1
        customer = api.customers.create({"name": "Kept"}, {"idempotency_key": "k"})
        card = api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        gone = api.webhook_endpoints.create(
            {"url": "http://127.0.0.1:9/", "enabled_events": ["charge.failed"]}
        )
        api.webhook_endpoints.delete(gone.id)
    with simulator("--data", str(data)) as (url, _):
        api = client(url).v1
        assert api.customers.retrieve(customer.id).name == "Kept"
        assert [kept.id for kept in api.payment_methods.list({"customer": customer.id}).data] == [card.id]
        assert api.customers.create({"name": "Kept"}, {"idempotency_key": "k"}).id == customer.id
        assert api.webhook_endpoints.list({}).data == []
        paid = api.payment_intents.create(
            {
                "amount": 500,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": card.id,
                "allowed_payment_method_types": ["card"],
                "confirm": True,
                "off_session": True,
            }
        )
        assert paid.status == "succeeded"
    assert "sk_test_process" not in data.read_text()


def test_a_line_that_was_cut_short_by_a_kill_is_left_out(tmp_path: Path) -> None:
    data = tmp_path / "objects.jsonl"
    with simulator("--data", str(data)) as (url, _):
        kept = client(url).v1.customers.create({"name": "Kept"}).id
    with data.open("a") as file:
        file.write('{"id": "cus_cut", "object": "cust')
    with simulator("--data", str(data)) as (url, _):
        assert [one.id for one in client(url).v1.customers.list({}).data] == [kept]


def test_no_card_number_is_kept(tmp_path: Path) -> None:
    data = tmp_path / "objects.jsonl"
    with simulator("--data", str(data)) as (url, _):
        card: Any = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "987"}
        made = client(url).v1.payment_methods.create({"type": "card", "card": card}, {"idempotency_key": "k"})
    assert made.id in data.read_text()
    assert "42424242" not in data.read_text()


def test_the_endpoint_it_is_given_moves_with_the_command(tmp_path: Path) -> None:
    data = str(tmp_path / "objects.jsonl")
    for url in ("http://127.0.0.1:9/old", "http://127.0.0.1:9/new"):
        with simulator("--data", data, "--webhook-url", url, "--webhook-secret", "whsec_x") as (base, _):
            assert [endpoint.url for endpoint in client(base).v1.webhook_endpoints.list({}).data] == [url]


def test_its_port_is_free_as_soon_as_it_was_killed(tmp_path: Path) -> None:
    data = str(tmp_path / "objects.jsonl")
    with simulator("--data", data) as (url, process):
        port = url.rpartition(":")[2]
        with socket.create_connection(("127.0.0.1", int(port))) as connection:
            connection.sendall(b"GET /v1/charges HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1)
            process.kill()
            process.wait()
    with simulator("--data", data, "--port", port) as (again, _):
        assert again == url


def test_what_it_cannot_use_is_said_without_a_stack(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    occupied = tmp_path / "file"
    occupied.touch()
    with taken:
        wrong = {
            "--port": str(taken.getsockname()[1]),
            "--data": str(occupied / "objects.jsonl"),
            "--webhook-url": "nowhere",
        }
        for option, value in wrong.items():
            command = [sys.executable, "-m", "metering", "stripe-simulator", option, value]
            said = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30)
            assert (said.returncode, "Traceback" in said.stderr) == (1, False)
            assert option in said.stderr


def test_it_stops_when_told_to() -> None:
    with simulator("--tax-percent", "8.25") as (url, process):
        control = Control(url)
        assert control.counts()["charges_succeeded"] == 0
        process.terminate()
        assert process.wait(10) == 0
        control.close()


@pytest.mark.parametrize("percent", ["x", "-1", "101"])
def test_a_tax_that_is_no_percentage_is_refused(percent: str) -> None:
    command = [sys.executable, "-m", "metering", "stripe-simulator", "--tax-percent", percent]
    assert subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 2
