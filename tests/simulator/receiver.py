"""An HTTP server that takes webhooks, and answers them as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What arrived: raw bodies with their signatures. `statuses` are answered in turn, then 200."""

    def __init__(self) -> None:
        self.arrived: list[tuple[bytes, str]] = []
        self.statuses: list[int] = []
        self.url = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events, as they arrived."""
        return [json.loads(body) for body, _ in self.arrived]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event["type"] for event in self.events]

    def wait_for(self, count: int, timeout_seconds: float = 10) -> None:
        """Return when so many have arrived."""
        until = time.monotonic() + timeout_seconds
        while len(self.arrived) < count:
            assert time.monotonic() < until, self.types
            time.sleep(0.01)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.arrived.append((body, self.headers["Stripe-Signature"]))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/webhooks"
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()
