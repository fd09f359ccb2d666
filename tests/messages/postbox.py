"""A real SMTP server on loopback, and what arrived there."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword


@dataclass
class Postbox:
    """`answers` are what the server says to its next recipients, before it takes them all."""

    port: int
    answers: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As METERING_MAIL_URL has it."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's)
        self, _server: object, _session: object, envelope: Envelope, address: str, _options: object
    ) -> str:
        """Take or refuse a recipient."""
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  (aiosmtpd's)
        self, _server: object, _session: object, envelope: Envelope
    ) -> str:
        """Take a message."""
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 OK"

    def authenticate(
        self, _server: object, _session: object, _envelope: object, _mechanism: str, given: LoginPassword
    ) -> AuthResult:
        """Let in whoever knows the password."""
        self.logins.append((given.login, given.password))
        return AuthResult(success=given.password == b"p@ss word", handled=False)


@contextmanager
def open_postbox(*, tls: ssl.SSLContext | None = None) -> Iterator[Postbox]:
    """The server, as long as the block lasts; with `tls` it offers STARTTLS."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    postbox = Postbox(port)
    controller = Controller(
        postbox,
        hostname="127.0.0.1",
        port=port,
        tls_context=tls,
        authenticator=postbox.authenticate,
        auth_require_tls=False,
    )
    controller.start()
    try:
        yield postbox
    finally:
        controller.stop()


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """The mail's words."""
    body = mail.get_body((kind,))
    assert body is not None
    text: str = body.get_content()
    return text
