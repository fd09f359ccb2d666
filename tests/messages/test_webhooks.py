"""Webhooks on their way: signed as Standard Webhooks' library wants it, and kept from our own network."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from metering.errors import InvalidParameter
from metering.messages.webhooks import WebhookSender, check_url, is_public, new_secret, signed
from tests.messages.receiver import Receiver, open_receiver

BODY = b'{"type": "balance.low", "data": {"balance": "4.371283912"}}'
ID = "0197b9a2-aaaa-7c31-9a3e-2f5a6b7c8d90"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A customer's server."""
    with open_receiver() as receiver:
        yield receiver


def now() -> datetime:
    return datetime.now(UTC)


def test_the_library_of_the_standard_takes_our_signature() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY, signed(secret, ID, now(), BODY))


@pytest.mark.parametrize("change", ["body", "secret", "id", "time"])
def test_the_library_refuses_what_was_changed_on_the_way(change: str) -> None:
    secret = new_secret()
    at = now() - timedelta(hours=1) if change == "time" else now()
    headers = signed(new_secret() if change == "secret" else secret, ID, at, BODY)
    if change == "id":
        headers["webhook-id"] = "another"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" " if change == "body" else BODY, headers)


def test_a_message_arrives_with_its_headers(receiver: Receiver) -> None:
    secret = new_secret()
    tried = WebhookSender(allows_private=True).send(receiver.url, secret, ID, now(), BODY)
    assert (tried.status, tried.is_delivered) == (200, True)
    (call,) = receiver.calls
    assert Webhook(secret).verify(call.body, call.headers)
    assert call.headers["host"] == receiver.url.split("/")[2]
    assert call.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 400, 410, 500])
def test_only_2xx_is_delivery_and_nobody_is_followed(receiver: Receiver, status: int) -> None:
    receiver.answers.append(status)
    tried = WebhookSender(allows_private=True).send(receiver.url, new_secret(), ID, now(), BODY)
    assert (tried.status, tried.is_delivered, tried.is_gone) == (status, False, status == 410)
    assert tried.failure == f"The answer was {status}."
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0.0.0.0"])
def test_a_host_of_our_own_network_is_refused_by_its_address(receiver: Receiver, host: str) -> None:
    url = receiver.url.replace("127.0.0.1", host)
    tried = WebhookSender().send(url, new_secret(), ID, now(), BODY)
    assert (tried.status, tried.failure) == (None, "The host's address is not public.")
    assert receiver.calls == []


def test_a_failure_has_words(receiver: Receiver) -> None:
    sender = WebhookSender(allows_private=True)
    unknown = sender.send("https://nowhere.invalid/", new_secret(), ID, now(), BODY)
    assert unknown.failure == "The host's name is not known."
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    refused = sender.send(f"http://127.0.0.1:{port}/", new_secret(), ID, now(), BODY)
    assert (refused.failure or "").startswith("No answer: ")
    long = sender.send(f"http://{'a' * 70}.example/", new_secret(), ID, now(), BODY)
    assert long.failure is not None


def test_a_receiver_that_answers_a_byte_at_a_time_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with listener.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                for _ in range(30):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                    threading.Event().wait(0.1)

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        sender = WebhookSender(allows_private=True, seconds=1)
        tried = sender.send(url, new_secret(), ID, now(), BODY)
        thread.join()
    assert tried.failure == "No answer within 1 seconds."


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("2002:a00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::7f00:1", False),
        ("::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("fec0::1", False),
    ],
)
def test_which_addresses_are_of_the_internet(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hooks?account=1",
        "https://8.8.8.8/x",
        "https://[2606:4700:4700::1111]/x",
        "https://bücher.example/x",
    ],
)
def test_a_url_of_the_internet_is_taken(url: str) -> None:
    assert check_url(url, allows_private=False).startswith("https://")


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://example.com", "http://example.com", "https://", "https:///x",
        "https://a b/", "https://user:password@example.com", "https://example.com/#here",
        "https://example.com/" + "x" * 2_000, "https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://1.2/",
        "https://[::127.0.0.1]/",
        "https://example.com:99999/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_any_other_is_refused(url: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_url(url, allows_private=False)
    assert refused.value.param == "url"


def test_where_it_is_allowed_a_private_url_without_tls_is_taken() -> None:
    assert check_url("http://127.0.0.1:9000/x", allows_private=True) == "http://127.0.0.1:9000/x"
