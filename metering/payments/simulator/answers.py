"""From a request to its answer: the key, the fault, the idempotency key, the parameters, the resource."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from metering.payments.simulator import forms, idempotency
from metering.payments.simulator.calls import Call, Page, Route, find_route, rendered
from metering.payments.simulator.faults import Fault
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import API_VERSION, Origin

if TYPE_CHECKING:
    from metering.payments.simulator.server import Simulator

_TEST_KEY: Final = re.compile(r"Bearer (sk|rk)_test_\w+")


@dataclass(frozen=True)
class Request:
    """A request as it came; headers by lower-case name."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str

    @property
    def parameters(self) -> dict[str, Any]:
        """What was sent in the query or the form."""
        return forms.parse(self.query if self.method in {"GET", "DELETE"} else self.body)


@dataclass(frozen=True)
class Answer:
    """JSON, or HTML where `body` is text."""

    status: int
    body: Json | str
    headers: Mapping[str, str] = field(default_factory=dict)


class _Dropped(Exception):
    """The connection ends without an answer."""


class Answers:
    """Answers the requests to a simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._state = simulator.state

    def to(self, request: Request) -> Answer | None:
        """The answer; None is a connection to be dropped."""
        if not request.path.startswith("/v1/"):
            return self._to_page(request)
        origin = Origin(self._state.new_id("req"), request.headers.get("idempotency-key"))
        headers = {"request-id": str(origin.id), "stripe-version": API_VERSION}
        if origin.idempotency_key:
            headers["idempotency-key"] = origin.idempotency_key
        try:
            _check_key(request.headers.get("authorization", ""))
            answer = self._to_call(request, origin)
        except Refusal as refusal:
            answer = _refused(refusal)
        except _Dropped:
            return None
        return replace(answer, headers={**headers, **answer.headers})

    def _to_page(self, request: Request) -> Answer:
        """Pages and the control API: no key is asked for, and no fault strikes."""
        try:
            route, ids = _route(request)
            raw = request.parameters
            form = raw if route.form is None else route.form.read(raw)
            call = Call(self._state, request.method, request.path, form, self._simulator)
            with self._state.lock:
                try:
                    done = self._run(route, ids, call)
                finally:
                    self._state.journal.flush()
        except Refusal as refusal:
            return _refused(refusal)
        if isinstance(done, Page):
            return Answer(done.status, done.html, {"Location": done.location} if done.location else {})
        return Answer(200, done)

    def _to_call(self, request: Request, origin: Origin) -> Answer:
        raw = request.parameters
        fault = self._simulator.faults.find(request.method, request.path)
        key = origin.idempotency_key if request.method == "POST" else None
        if key is None:
            answer = self._carried_out(request, raw, origin, fault, None)
        else:
            with self._state.lock:
                call = idempotency.fingerprint(request.method, request.path, raw)
                kept = idempotency.claim(self._state, key, call)
            if kept:
                answer = _replayed(kept, fault)
            else:
                try:
                    answer = self._carried_out(request, raw, origin, fault, key)
                finally:
                    with self._state.lock:
                        idempotency.release(self._state, key)
        if fault and fault.when == "after":
            _endure(fault)
        return answer

    def _carried_out(
        self, request: Request, raw: dict[str, Any], origin: Origin, fault: Fault | None, key: str | None
    ) -> Answer:
        """Carry the call out and keep its answer under the key; if this raises, the call hadn't begun."""
        fails = fault is not None and fault.action == "error_500"
        if fault and fault.when == "before":
            _endure(fault)
            if fails:
                return self._kept(Answer(500, _FAILED), origin, key if fault.kept else None)
        route, ids = _route(request)
        form = (route.form or forms.NOTHING).read(raw)
        expand = forms.expansions(raw)
        with self._state.lock:
            self._state.origin = origin
            try:
                done = self._run(route, ids, Call(self._state, request.method, request.path, form), expand)
                answer = Answer(200, done)
            except Refusal as refusal:
                answer = _refused(refusal)
            finally:
                self._state.origin = Origin()
            if fault and fails:
                answer = Answer(500, _FAILED)
            return self._kept(answer, origin, key if fault is None or not fails or fault.kept else None)

    def _run(self, route: Route, ids: tuple[str, ...], call: Call, expand: list[str] | None = None) -> Any:  # noqa: ANN401
        """Run the handler; what it changed stays changed and is told, also where it refuses in the end."""
        try:
            done = route.handler(call, *ids)
            return done if isinstance(done, Page) else rendered(self._state, done, expand or [])
        finally:
            self._state.run_later()
            while self._state.outbox:
                self._simulator.webhooks.dispatch(self._state.outbox.pop(0))

    def _kept(self, answer: Answer, origin: Origin, key: str | None) -> Answer:
        """Journal what the call changed and, in the same write, what it answered under its key."""
        with self._state.lock:
            if key and isinstance(answer.body, dict):
                idempotency.keep(self._state, key, answer.status, answer.body, str(origin.id))
            self._state.journal.flush()
        return answer


_FAILED: Final[Json] = {
    "error": {"message": "An unknown error occurred (the simulator was told so)", "type": "api_error"}
}


def _replayed(kept: Json, fault: Fault | None) -> Answer:
    """The kept answer, unless this call goes wrong on its own way."""
    if fault and fault.when == "before":
        _endure(fault)
    if fault and fault.action == "error_500":
        return Answer(500, _FAILED)
    headers = {"idempotent-replayed": "true", "original-request": kept["request_id"]}
    return Answer(kept["status"], kept["body"], headers)


def _endure(fault: Fault) -> None:
    time.sleep(fault.seconds)
    if fault.action == "timeout":
        raise _Dropped
    if fault.action == "rate_limit":
        raise Refusal(
            "Request rate limit exceeded. Learn more about rate limits here "
            "https://docs.stripe.com/rate-limits.",
            code="rate_limit",
            status=429,
        )


def _check_key(authorization: str) -> None:
    """A `Refusal` unless a test key was sent; what was sent is repeated nowhere."""
    if "_live_" in authorization:
        raise Refusal(
            "A live key was sent to the Stripe simulator, which takes test keys alone. It was not kept.",
            status=401,
        )
    if not _TEST_KEY.fullmatch(authorization):
        raise Refusal(
            "You did not provide an API key of test mode: send Authorization: Bearer sk_test_…", status=401
        )


def _route(request: Request) -> tuple[Route, tuple[str, ...]]:
    found = find_route(request.method, request.path)
    if found is None:
        raise Refusal(
            f"Unrecognized request URL ({request.method}: {request.path}): not Stripe's, or not simulated.",
            status=404,
        )
    return found


def _refused(refusal: Refusal) -> Answer:
    return Answer(refusal.status, {"error": refusal.error})
