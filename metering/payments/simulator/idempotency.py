"""Idempotency keys as Stripe keeps them: an answer is replayed for a day, to the same call alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

_KIND: Final = "_idempotency"
_KEPT_SECONDS: Final = 86_400
_LONGEST: Final = 255


def fingerprint(method: str, path: str, raw: Mapping[str, Any]) -> str:
    """What a call with the same key must be the same in."""
    return hashlib.sha256(json.dumps([method, path, raw], sort_keys=True).encode()).hexdigest()


def claim(state: State, key: str, call: str) -> Json | None:
    """The kept answer to replay, or None: the key is this call's now. A `Refusal` where it is another's."""
    if len(key) > _LONGEST:
        raise Refusal(
            f"Idempotency keys can only be up to {_LONGEST} characters long.", type="idempotency_error"
        )
    kept = state.find(_KIND, key)
    if kept and kept["created"] + _KEPT_SECONDS <= state.now():
        kept = None
    if kept is None:
        # In memory alone until it has an answer: a simulator that was killed meanwhile doesn't know of it.
        state.objects.setdefault(_KIND, {})[key] = {
            "id": key,
            "object": _KIND,
            "call": call,
            "created": state.now(),
            "answer": None,
        }
        return None
    if kept["call"] != call:
        raise Refusal(
            "Keys for idempotent requests can only be used with the same parameters they were first used "
            f"with. Try using a key other than '{key}' if you meant to execute a different request.",
            type="idempotency_error",
        )
    if kept["answer"] is None:
        raise Refusal(
            "There is currently another in-progress request using this Idempotent Key (that probably means "
            "you submitted twice, and the other request is still going through): "
            f"{key}. Please try again later.",
            status=409,
            code="idempotency_key_in_use",
        )
    answer: Json = kept["answer"]
    return answer


def keep(state: State, key: str, status: int, body: Json, request_id: str) -> None:
    """Keep the answer of the call that has the key."""
    if kept := state.find(_KIND, key):
        state.change(kept, answer={"status": status, "body": body, "request_id": request_id})


def release(state: State, key: str) -> None:
    """Where the call did not begin, and so has no answer, the key is nobody's again."""
    kept = state.find(_KIND, key)
    if kept and kept["answer"] is None:
        del state.objects[_KIND][key]
