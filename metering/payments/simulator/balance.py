"""The balance: the sum of the balance transactions, available or still pending."""

from __future__ import annotations

from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.forms import Form
from metering.payments.simulator.refusals import Json


def _retrieve(call: Call) -> Json:
    now = call.state.now()
    sums = {True: 0, False: 0}
    for moved in call.state.iter_kind("balance_transaction"):
        sums[moved["available_on"] <= now] += moved["net"]
    available, pending = (
        {"amount": sums[is_available], "currency": "usd", "source_types": {"card": sums[is_available]}}
        for is_available in (True, False)
    )
    return {"object": "balance", "available": [available], "livemode": False, "pending": [pending]}


RESOURCE = Resource("balance", (Route("GET", "/v1/balance", _retrieve, Form(sdk="BalanceRetrieveParams")),))
