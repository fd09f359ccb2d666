"""Mail on its way: by SMTP, or into a directory for development.

SMTP can't say that a message was taken exactly once: where the answer is lost, it is sent again under the
same Message-ID, by which mail programs know it.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from metering.errors import ConfigurationError

# Of each answer that is waited for.
_ANSWER_SECONDS: Final = 30
_PERMANENT: Final = 500
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BAD_URL: Final = "METERING_MAIL_URL must be smtp://…, smtps://… or maildir:<directory>"


class MailOutcome(StrEnum):
    """What became of a try: `DELAYED` is worth another."""

    SENT = "sent"
    DELAYED = "delayed"
    FAILED = "failed"


class MailTry(NamedTuple):
    """The outcome, and why it is no better."""

    outcome: MailOutcome
    failure: str | None = None


Post = Callable[[EmailMessage, str], MailTry]


class Transport(Protocol):
    """A way for mail to go."""

    def session(self) -> AbstractContextManager[Post]:
        """A function that posts messages to a recipient each, over one connection."""


def open_transport(url: str) -> Transport:
    """The way that METERING_MAIL_URL names, without connecting yet; raises `ConfigurationError`.

    `smtp://[user:password@]host[:25]` goes over to TLS where the server offers it, and gives the password
    over TLS or within the machine only; `smtps://…[:465]` is TLS from the first byte.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(_BAD_URL) from error
    if parts.scheme == "maildir" and parts.path:
        return Maildir(Path(parts.path))
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ConfigurationError(_BAD_URL)
    return Smtp(parts, port or (465 if parts.scheme == "smtps" else smtplib.SMTP_PORT))


@dataclass(frozen=True, slots=True)
class Maildir:
    """A directory that mail programs can read: a message is a file of `new`, named by its Message-ID."""

    directory: Path

    @contextmanager
    def session(self) -> Iterator[Post]:
        """As `Transport` says."""
        for name in ("tmp", "new", "cur"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        yield self._post

    def _post(self, message: EmailMessage, _recipient: str) -> MailTry:
        name = message["Message-ID"].strip("<>")
        unfinished = self.directory / "tmp" / name
        unfinished.write_bytes(message.as_bytes())
        unfinished.replace(self.directory / "new" / name)
        return MailTry(MailOutcome.SENT)


@dataclass(frozen=True, slots=True)
class Smtp:
    """A server that takes mail."""

    url: SplitResult
    port: int

    @contextmanager
    def session(self) -> Iterator[Post]:
        """As `Transport` says; connects with the first message, and anew after a failure."""
        session = _Session(self)
        try:
            yield session.post
        finally:
            session.close()

    def connect(self) -> smtplib.SMTP:
        """A connection that is ready for messages."""
        host = self.url.hostname or ""
        context = ssl.create_default_context()
        if self.url.scheme == "smtps":
            client: smtplib.SMTP = smtplib.SMTP_SSL(host, self.port, timeout=_ANSWER_SECONDS, context=context)
        else:
            client = smtplib.SMTP(host, self.port, timeout=_ANSWER_SECONDS)
        try:
            client.ehlo()
            is_safe = self.url.scheme == "smtps" or host in _LOOPBACK
            if self.url.scheme == "smtp" and client.has_extn("starttls"):
                client.starttls(context=context)
                client.ehlo()
                is_safe = True
            if self.url.username:
                if not is_safe:
                    raise smtplib.SMTPNotSupportedError("the server offers no TLS to give a password over")
                client.login(unquote(self.url.username), unquote(self.url.password or ""))
        except OSError:
            client.close()
            raise
        return client


class _Session:
    """One connection, for as long as it is good."""

    def __init__(self, server: Smtp) -> None:
        self._server = server
        self._client: smtplib.SMTP | None = None

    def post(self, message: EmailMessage, recipient: str) -> MailTry:
        """Hand a message over; only a refusal for good, of the recipient or the message, is final."""
        try:
            if self._client is None:
                self._client = self._server.connect()
            self._client.send_message(message, to_addrs=[recipient])
        except smtplib.SMTPRecipientsRefused as error:
            return self._failed(*next(iter(error.recipients.values())))
        except smtplib.SMTPDataError as error:
            return self._failed(error.smtp_code, error.smtp_error)
        except OSError as error:  # smtplib's own are among them
            self.close()
            return MailTry(MailOutcome.DELAYED, f"{type(error).__name__}: {error}")
        return MailTry(MailOutcome.SENT)

    def close(self) -> None:
        """Take leave, if there is anybody to take leave of."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError):
                client.quit()
            client.close()

    def _failed(self, code: int, text: bytes | str) -> MailTry:
        self.close()
        told = text.decode(errors="replace") if isinstance(text, bytes) else text
        outcome = MailOutcome.FAILED if code >= _PERMANENT else MailOutcome.DELAYED
        return MailTry(outcome, f"{code} {told}")
