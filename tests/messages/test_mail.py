"""Mail by a real SMTP server: what is final, what is worth another try, and how a password travels."""

from __future__ import annotations

import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from metering.errors import ConfigurationError
from metering.ledger.notices import NoticeType
from metering.messages.mail import MailOutcome, MailTry, open_transport
from metering.messages.rendering import compose
from tests.messages.postbox import Postbox, open_postbox
from tests.messages.writing import LETTERHEAD, a_notice

TO = "zoe@customer.example"
MESSAGE = compose(a_notice(NoticeType.TOP_UP_SUCCEEDED), LETTERHEAD)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    """A server that takes what comes."""
    with open_postbox() as postbox:
        yield postbox


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate of localhost, which this process trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(key), "-out", str(chain), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", *made, *files], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def send(url: str, times: int = 1) -> list[MailTry]:
    with open_transport(url).session() as post:
        return [post(MESSAGE, TO) for _ in range(times)]


def test_a_message_arrives_whole(postbox: Postbox) -> None:
    assert send(postbox.url, 2) == [MailTry(MailOutcome.SENT)] * 2
    first, second = postbox.mails
    assert first["Message-ID"] == second["Message-ID"] == MESSAGE["Message-ID"]
    assert first["Subject"] == MESSAGE["Subject"]
    assert [part.get_content_type() for part in first.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "application/pdf",
    ]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("550 5.1.1 no such mailbox", MailOutcome.FAILED),
        ("451 4.7.1 greylisted", MailOutcome.DELAYED),
        ("421 4.3.2 closing", MailOutcome.DELAYED),
    ],
)
def test_a_refusal_is_final_where_the_server_says_so_and_stops_no_other(
    postbox: Postbox, answer: str, outcome: MailOutcome
) -> None:
    postbox.answers.append(answer)
    refused, taken = send(postbox.url, 2)
    assert refused == MailTry(outcome, answer)
    assert taken.outcome is MailOutcome.SENT
    assert len(postbox.mails) == 1


def test_a_server_that_is_away_is_waited_for() -> None:
    with open_postbox() as postbox:
        url = postbox.url
    (tried,) = send(url)
    assert tried.outcome is MailOutcome.DELAYED
    assert "refused" in (tried.failure or "")


def test_a_password_is_given_within_the_machine() -> None:
    with open_postbox() as postbox:
        url = postbox.url.replace("//", "//ada%40acme:p%40ss%20word@")
        assert send(url) == [MailTry(MailOutcome.SENT)]
        assert postbox.logins == [(b"ada@acme", b"p@ss word")]
        assert send(url.replace("word", "wort"))[0].outcome is MailOutcome.DELAYED
        assert len(postbox.mails) == 1


def test_tls_is_used_where_it_is_offered(certificate: ssl.SSLContext) -> None:
    with open_postbox(tls=certificate) as postbox:
        assert send(f"smtp://localhost:{postbox.port}") == [MailTry(MailOutcome.SENT)]
        # A name that the certificate doesn't have: whoever answers there, we don't know them.
        (tried,) = send(f"smtp://127.0.0.1:{postbox.port}")
        assert tried.outcome is MailOutcome.DELAYED
        assert "CERTIFICATE_VERIFY_FAILED" in (tried.failure or "")


def test_a_password_is_not_given_over_the_network_in_the_clear() -> None:
    with open_postbox() as postbox:
        # The same machine by a name that doesn't say so.
        (tried,) = send(f"smtp://ada:secret@127.1:{postbox.port}")
        assert tried == MailTry(
            MailOutcome.DELAYED,
            "SMTPNotSupportedError: the server offers no TLS to give a password over",
        )
        assert not postbox.logins
        assert not postbox.mails


def test_a_directory_holds_each_message_once(tmp_path: Path) -> None:
    send(f"maildir:{tmp_path}/mail", 2)
    (file,) = (tmp_path / "mail" / "new").iterdir()
    assert message_from_bytes(file.read_bytes())["Subject"] == MESSAGE["Subject"]
    assert list((tmp_path / "mail" / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    "url", ["", "smtp:", "smtp://", "mail.example.com", "http://a.example", "smtp://a:b@c:port", "maildir:"]
)
def test_a_bad_url_is_told_by_the_variable_s_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="METERING_MAIL_URL"):
        open_transport(url)


def test_ports_are_the_protocols_own() -> None:
    for url, port in (("smtp://a.example", smtplib.SMTP_PORT), ("smtps://a.example", 465)):
        assert getattr(open_transport(url), "port") == port  # noqa: B009
