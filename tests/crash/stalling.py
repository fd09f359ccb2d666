"""A mail server that stops in the middle of taking a message, so that its client can be killed there."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from typing import Final, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from tests.crash.service import PATIENCE_SECONDS, free_port

_FOR_EVER: Final = 3_600


class StallingPost:
    """Takes what comes; told to stall, it stops at the next message, `before` or `after` it is taken."""

    def __init__(self) -> None:
        self._port = free_port()
        self._stall: Literal["before", "after"] | None = None
        self._stalled = threading.Event()
        # How often each message came to each recipient: (recipient, Message-ID, subject).
        self.taken: Counter[tuple[str, str, str]] = Counter()

    @property
    def url(self) -> str:
        """As METERING_MAIL_URL has it."""
        return f"smtp://127.0.0.1:{self._port}"

    def stall(self, when: Literal["before", "after"]) -> None:
        """Stop at the next message: never take it, or take it and never say so."""
        self._stalled.clear()
        self._stall = when

    def wait_until_stalled(self) -> None:
        """Wait until a message is at that point."""
        assert self._stalled.wait(PATIENCE_SECONDS), "no mail came"

    def receipts(self, recipient: str) -> Counter[str]:
        """How often each receipt came to them, by its Message-ID."""
        found: Counter[str] = Counter()
        for (whom, message_id, subject), times in self.taken.items():
            if whom == recipient and "receipt" in subject.lower():
                found[message_id] += times
        return found

    async def handle_DATA(  # noqa: N802  (aiosmtpd's)
        self, _server: object, _session: object, envelope: Envelope
    ) -> str:
        """Take a message."""
        when, self._stall = self._stall, None
        if when == "before":
            self._stalled.set()
            await asyncio.sleep(_FOR_EVER)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        for recipient in envelope.rcpt_tos:
            self.taken[recipient, message["Message-ID"], message["Subject"]] += 1
        if when == "after":
            self._stalled.set()
            await asyncio.sleep(_FOR_EVER)
        return "250 OK"

    @contextmanager
    def listening(self) -> Iterator[None]:
        """As long as the block lasts."""
        controller = Controller(self, hostname="127.0.0.1", port=self._port)
        controller.start()
        try:
            yield
        finally:
            controller.stop()
