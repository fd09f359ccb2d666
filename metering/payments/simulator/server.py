"""The simulator itself: an HTTP server on loopback, in a thread of whoever starts it.

It is the standard library's server, and not the framework of the doors, because a fault must drop a
connection in the middle of a call: that needs the socket, which a framework keeps to itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from metering.payments.simulator.answers import Answer, Answers, Request
from metering.payments.simulator.calls import resources
from metering.payments.simulator.faults import Faults
from metering.payments.simulator.journal import Journal
from metering.payments.simulator.state import Settings, State
from metering.payments.simulator.webhook_endpoints import make_endpoint
from metering.payments.simulator.webhooks import Webhooks

HOST: Final = "127.0.0.1"
_IDLE_SECONDS: Final = 120


class Simulator:
    """A Stripe on loopback, at `url`. Port 0 is a free one; `data` is a file that keeps the objects.

    With more than one of `webhook_threads` events overtake each other, as Stripe's do.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        data: Path | None = None,
        tax_percent: Decimal = Decimal(0),
        webhook_threads: int = 1,
    ) -> None:
        self._endpoint = (webhook_url, webhook_secret)
        self._server = _Server((HOST, port), _Handler)
        self.url = f"http://{HOST}:{self._server.server_port}"
        settings = Settings(self.url, tax_percent=tax_percent)
        self.state = State(settings, Journal(data))
        self.state.load()
        # Events first: what another observer does is told after what made it do so.
        ordered = sorted(resources().values(), key=lambda resource: resource.name != "event")
        self.state.observers = [resource.observe for resource in ordered if resource.observe]
        self.webhooks = Webhooks(self.state, webhook_threads)
        self.faults = Faults()
        self._server.answers = Answers(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="stripe-simulator", daemon=True
        )
        self._add_endpoint()

    def start(self) -> Self:
        """Answer from now on."""
        self._thread.start()
        self.webhooks.start()
        return self

    def stop(self) -> None:
        """Close the port and every connection."""
        self._server.shutdown()
        self._thread.join()
        self._server.close_all()
        self.webhooks.stop()
        self.state.journal.close()

    def reset(self) -> None:
        """As new: no objects, faults or deliveries; the webhook endpoint it was started with is there."""
        with self.state.lock:
            self.faults.clear()
            self.webhooks.clear()
            self.state.clear()
            self._add_endpoint()

    def _add_endpoint(self) -> None:
        """The endpoint it was started with; one that the journal kept is told where that is now."""
        url, secret = self._endpoint
        if url is None:
            return
        endpoint = next(self.state.iter_kind("webhook_endpoint", _given=True), None)
        endpoint = endpoint or make_endpoint(self.state, url)
        self.state.change(endpoint, url=url, _given=True, _secret=secret or endpoint["_secret"])
        self.state.journal.flush()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A thousand callers at once are part of the tests.
    request_queue_size = 1_024
    answers: Answers

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def server_bind(self) -> None:
        """Bind without asking the resolver for the host's name; also just after one that was killed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Keep the connection in mind while it is open."""
        with self._lock:
            self._open.add(request)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError):
                self.finish_request(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            self.shutdown_request(request)

    def close_all(self) -> None:
        """Stop listening, and end the connections that clients keep for later."""
        self.server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for the whole answer; without these it would wait 40 ms for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS  # type: ignore[mutable-override]

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        server = self.server
        assert isinstance(server, _Server)  # noqa: S101  (what made this handler)
        answer = server.answers.to(Request(self.command, parts.path, parts.query, headers, body))
        if answer is None:
            self.close_connection = True
            return
        self._write(answer)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  (http.server's names)

    def _write(self, answer: Answer) -> None:
        body = (
            answer.body.encode()
            if isinstance(answer.body, str)
            else json.dumps(answer.body, indent=2).encode()
        )
        self.send_response(answer.status)
        kind = "text/html" if isinstance(answer.body, str) else "application/json"
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """What `Server` says."""
        return "metering-stripe-simulator"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: a line could hold a key."""
