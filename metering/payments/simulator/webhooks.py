"""Webhooks: events signed and sent from threads of their own, and the ways in which that goes wrong."""

from __future__ import annotations

import hashlib
import heapq
import hmac
import itertools
import json
import random
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Final

import httpx

from metering import clock
from metering.payments.simulator.calls import shown
from metering.payments.simulator.events import wants
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State

_ANSWER_SECONDS: Final = 10
# Stripe waits for hours between its tries; here it is over in twelve seconds.
RETRY_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 4.0)
_SCATTER_SECONDS: Final = 0.5


@dataclass
class Behaviour:
    """How deliveries are mistreated; of the events in `types` alone, if any are named."""

    drop: bool = False
    # How often each is sent beyond the first time.
    duplicate: int = 0
    # Sent at random moments of half a second, so that they overtake each other.
    reorder: bool = False
    delay_seconds: float = 0.0
    # Kept until they are released.
    hold: bool = False
    types: list[str] = field(default_factory=list)

    def concerns(self, type: str) -> bool:
        """Whether an event of this type is mistreated."""
        return not self.types or type in self.types


@dataclass
class Delivery:
    """One event on its way to one endpoint. Status: held, dropped, pending, delivered, failed."""

    id: str
    event_id: str
    type: str
    endpoint_id: str
    url: str
    status: str = "pending"
    attempts: int = 0
    response_status: int | None = None


class Webhooks:
    """The deliveries of a simulator. Its lock is taken after the state's, never before."""

    def __init__(self, state: State, threads: int) -> None:
        self._state = state
        self._ready = threading.Condition()
        self._due: list[tuple[float, int, Delivery]] = []
        self._number = itertools.count()
        self._random = random.Random(0)  # noqa: S311  (the same disorder each time)
        self._stopping = False
        self._sending = 0
        self.behaviour = Behaviour()
        self.deliveries: list[Delivery] = []
        self._threads = [
            threading.Thread(target=self._run, name=f"stripe-simulator-webhooks-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more."""
        with self._ready:
            self._stopping = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def clear(self) -> None:
        """Forget what was sent and what was to be sent, and behave again."""
        with self._ready:
            self._due.clear()
            self.deliveries = []
            self.behaviour = Behaviour()
            self._random.seed(0)

    def dispatch(self, event: Json, *, obedient: bool = False) -> None:
        """Send an event to all who want it, `obedient` whatever the behaviour. Needs the state's lock."""
        for endpoint in list(self._state.iter_kind("webhook_endpoint")):
            if wants(endpoint, event["type"]):
                self._dispatch_to(endpoint, event, Behaviour() if obedient else self.behaviour)

    def _dispatch_to(self, endpoint: Json, event: Json, behaviour: Behaviour) -> None:
        applies = behaviour.concerns(event["type"])
        for _ in range(1 + (behaviour.duplicate if applies else 0)):
            with self._ready:
                number = next(self._number)
                sent = Delivery(f"del_{number}", event["id"], event["type"], endpoint["id"], endpoint["url"])
                self.deliveries.append(sent)
                if applies and behaviour.drop:
                    sent.status = "dropped"
                elif applies and behaviour.hold:
                    sent.status = "held"
                else:
                    scatter = (
                        self._random.uniform(0, _SCATTER_SECONDS) if applies and behaviour.reorder else 0.0
                    )
                    self._push(sent, scatter + (behaviour.delay_seconds if applies else 0.0))

    def release(self, event_id: str | None = None, *, order: str = "oldest") -> int:
        """Send what is held, of one event or all: "oldest" first, "newest" or "random". Says how many."""
        with self._ready:
            held = [
                sent
                for sent in self.deliveries
                if sent.status == "held" and event_id in {None, sent.event_id}
            ]
            if order == "newest":
                held.reverse()
            elif order == "random":
                self._random.shuffle(held)
            for sent in held:
                sent.status = "pending"
                self._push(sent, 0.0)
            return len(held)

    def is_idle(self) -> bool:
        """Whether nothing is being sent or waits to be sent; what is held doesn't count."""
        with self._ready:
            return not self._due and not self._sending

    def listed(self) -> list[Json]:
        """The deliveries, oldest first."""
        with self._ready:
            return [asdict(sent) for sent in self.deliveries]

    def _push(self, sent: Delivery, delay_seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay_seconds, next(self._number), sent))
        self._ready.notify_all()

    def _run(self) -> None:
        with httpx.Client(timeout=_ANSWER_SECONDS, trust_env=False) as http:
            while (sent := self._next()) is not None:
                status = self._send(http, sent)
                with self._ready:
                    self._sending -= 1
                    self._note(sent, status)
                    self._ready.notify_all()

    def _next(self) -> Delivery | None:
        with self._ready:
            while not self._stopping:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._sending += 1
                    return heapq.heappop(self._due)[2]
                self._ready.wait(wait)
            return None

    def _send(self, http: httpx.Client, sent: Delivery) -> int | None:
        with self._state.lock:
            event = self._state.find("event", sent.event_id)
            endpoint = self._state.find("webhook_endpoint", sent.endpoint_id)
            if event is None or endpoint is None:
                return 410
            payload = json.dumps(shown(event), indent=2).encode()
            secret = endpoint["_secret"]
        headers = {
            "Stripe-Signature": sign(payload, secret),
            "Content-Type": "application/json; charset=utf-8",
        }
        try:
            answer = http.post(sent.url, content=payload, headers={**headers, "User-Agent": "Stripe/1.0"})
        except httpx.HTTPError:
            return None
        if answer.is_success:
            with self._state.lock:
                self._state.change(event, pending_webhooks=max(event["pending_webhooks"] - 1, 0))
        return answer.status_code

    def _note(self, sent: Delivery, status: int | None) -> None:
        sent.response_status = status
        sent.attempts += 1
        if status is not None and 200 <= status < 300:
            sent.status = "delivered"
        elif sent.attempts > len(RETRY_SECONDS) or status == 410 or sent not in self.deliveries:
            sent.status = "failed"
        else:
            self._push(sent, RETRY_SECONDS[sent.attempts - 1])


def sign(payload: bytes, secret: str) -> str:
    """The `Stripe-Signature` of a payload: its time and HMAC-SHA256."""
    seconds = int(clock.now().timestamp())
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + payload, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"
