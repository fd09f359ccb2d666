"""A client that costs little: HTTP/1.1 over keep-alive sockets, one thread, `epoll`, encoded bodies.

It shares two cores with the service and the database, so what it spends is taken from them. It runs in a
process of its own (`drive` is called there), makes its bodies before the clock starts, and only looks for
the end of an answer.
"""

from __future__ import annotations

import collections
import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tests.bench.workload import arrivals, bodies, hold_bodies

_READ: Final = 1 << 20
_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length: "  # as uvicorn writes it


class Load(NamedTuple):
    """What to send: `batches` bodies of `size` events over `connections`, for at most `seconds`.

    `holds` sends holds in place of events. With a `rate` a second, requests begin at random times as
    customers' do, whether or not earlier ones have been answered; a latency then counts from when the request
    was due.
    """

    port: int
    path: str
    token: str
    connections: int
    batches: int
    size: int
    accounts: Sequence[str]
    seed: int
    seconds: float = 600.0
    holds: bool = False
    rate: float | None = None


class Driven(NamedTuple):
    """What came of it: seconds from the first byte sent to the last answer, and each request's own.

    `accepted` counts the events answered so, or the holds granted; `errors` are the answers that are not 2xx.
    """

    seconds: float
    latencies: list[float]
    accepted: int
    errors: int
    cpu_seconds: float


class _Connection:
    """One socket with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.begun = 0.0
        self._unsent = memoryview(b"")
        self._received = bytearray()
        self._wanted = 0

    def start(self, request: bytes) -> bool:
        """Begin a request; whether all of it is on its way."""
        self._unsent = memoryview(request)
        self._received.clear()
        self._wanted = 0
        self.begun = time.perf_counter()
        return self.send()

    def send(self) -> bool:
        """Send what the socket takes; whether that was all."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> bytes | None:
        """The answer, once it is there in full."""
        chunk = self.socket.recv(_READ)
        if not chunk:
            raise ConnectionResetError("the service closed the connection")
        self._received += chunk
        if not self._wanted:
            end = self._received.find(_END)
            if end < 0:
                return None
            start = self._received.index(_LENGTH, 0, end) + len(_LENGTH)
            self._wanted = end + len(_END) + int(self._received[start : self._received.index(b"\r", start)])
        return bytes(self._received) if len(self._received) >= self._wanted else None


def drive(load: Load) -> Driven:
    """Send everything, each connection the next body as soon as it has its answer."""
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nAuthorization: Bearer {load.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    requests = iter(
        [
            b"%b%d\r\n\r\n%b" % (head.encode(), len(body), body)
            for body in (
                hold_bodies(load.batches, load.accounts, load.seed)
                if load.holds
                else bodies(load.batches, load.size, load.accounts, load.seed)
            )
        ]
    )
    connections = [_Connection(load.port) for _ in range(load.connections)]
    latencies: list[float] = []
    answers: list[bytes] = []
    cpu, started = time.process_time(), time.perf_counter()
    if load.rate is None:
        _exchange(connections, requests, started + load.seconds, latencies, answers)
    else:
        due = arrivals(load.batches, load.rate, load.seed, started)
        _keep_pace(connections, requests, due, latencies, answers)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    for connection in connections:
        connection.socket.close()
    errors = sum(not answer.startswith(b"HTTP/1.1 20") for answer in answers)
    accepted = sum(answer.count(b'"status":"accepted"') for answer in answers)
    if load.holds:
        accepted = sum(answer.startswith(b"HTTP/1.1 201") for answer in answers)
    return Driven(seconds, latencies, accepted, errors, cpu)


def _exchange(
    connections: Sequence[_Connection],
    requests: Iterator[bytes],
    deadline: float,
    latencies: list[float],
    answers: list[bytes],
) -> None:
    poll = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in connections}
    under_way = 0

    def start(number: int) -> bool:
        request = next(requests, None) if time.perf_counter() < deadline else None
        if request is None:
            return False
        if not by_number[number].start(request):
            poll.modify(number, select.EPOLLIN | select.EPOLLOUT)
        return True

    for number in by_number:
        poll.register(number, select.EPOLLIN)
        under_way += start(number)
    while under_way:
        for number, event in poll.poll():
            connection = by_number[number]
            if event & select.EPOLLOUT and connection.send():
                poll.modify(number, select.EPOLLIN)
            if not event & ~select.EPOLLOUT:
                continue
            answer = connection.receive()
            if answer is not None:
                latencies.append(time.perf_counter() - connection.begun)
                answers.append(answer)
                under_way -= not start(number)
    poll.close()


def _keep_pace(
    connections: Sequence[_Connection],
    requests: Iterator[bytes],
    due: Iterable[float],
    latencies: list[float],
    answers: list[bytes],
) -> None:
    """Begin each request when it is due, on whatever connection is idle; all are small and sent at once."""
    by_number = {connection.socket.fileno(): connection for connection in connections}
    idle = list(by_number)
    waiting = collections.deque(due)
    while waiting or len(idle) < len(connections):
        while waiting and idle and waiting[0] <= time.perf_counter():
            connection = by_number[idle.pop()]
            connection.start(next(requests))
            connection.begun = waiting.popleft()
        # `select` waits for microseconds, where `epoll` would for milliseconds.
        patience = max(0.0, waiting[0] - time.perf_counter()) if waiting and idle else None
        busy = by_number.keys() - idle
        for number in select.select(busy, (), (), patience)[0]:
            connection = by_number[number]
            answer = connection.receive()
            if answer is not None:
                latencies.append(time.perf_counter() - connection.begun)
                answers.append(answer)
                idle.append(number)
