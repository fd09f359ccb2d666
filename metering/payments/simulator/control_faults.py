"""The control API's faults: list, add, clear."""

from __future__ import annotations

import re
from typing import Final

from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.faults import Fault
from metering.payments.simulator.forms import Fields, Form, Raw, choice, flag, integer, text
from metering.payments.simulator.refusals import Json, Refusal

_PATH: Final = "/_simulator/faults"


def number(raw: Raw, param: str) -> float:
    """Zero or a positive number, such as 0.25."""
    if isinstance(raw, str) and re.fullmatch(r"\d+(\.\d+)?", raw):
        return float(raw)
    raise Refusal(f"Invalid number: {raw}", param=param)


def _expression(raw: Raw, param: str) -> str:
    given = text(raw, param)
    try:
        re.compile(given)
    except re.error as error:
        raise Refusal(f"Invalid regular expression: {error}", param=param) from error
    return given


def _list(call: Call) -> Json:
    return {"data": call.simulator.faults.listed()}


def _add(call: Call) -> Json:
    fault = Fault(call.state.new_id("fault"), **call.form)
    call.simulator.faults.add(fault)
    return fault.listed()


def _clear(call: Call) -> Json:
    call.simulator.faults.clear()
    return {"data": []}


_FIELDS: Fields = {
    "action": choice("error_500", "rate_limit", "slow", "timeout"),
    "kept": flag,
    "method": choice("DELETE", "GET", "POST"),
    "path": _expression,
    "probability": number,
    "seconds": number,
    "seed": integer,
    # "" is for ever.
    "times": integer,
    "when": choice("after", "before"),
}
RESOURCE = Resource(
    "_fault",
    (
        Route("GET", _PATH, _list),
        Route("POST", _PATH, _add, Form(_FIELDS, ("action",))),
        Route("DELETE", _PATH, _clear),
    ),
)
