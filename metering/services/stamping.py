"""Usage as customers see it: with its cost and tier, without what is ours alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import msgspec

from metering.usage.meters import UPSTREAM_COST

_JSON: Final = msgspec.json.Encoder(decimal_format="number")
# What we stamp back and never trust, and our own cost, which is never shown.
NOT_SHOWN: Final = frozenset({"cost_usd", "pricing_tier_label", UPSTREAM_COST})


def stamp(encoded: str, usage: Mapping[str, object], cost: str | None, label: str | None) -> str:
    """The usage object with `cost_usd` and `pricing_tier_label`, as JSON; `encoded` is `usage` as JSON."""
    if not NOT_SHOWN.isdisjoint(usage):
        shown = {name: value for name, value in usage.items() if name not in NOT_SHOWN}
        encoded = _JSON.encode(shown).decode()
    label_json = "null" if label is None else json.dumps(label, ensure_ascii=False)
    separator = "," if len(encoded) > len("{}") else ""
    return f'{encoded[:-1]}{separator}"cost_usd":{cost or "null"},"pricing_tier_label":{label_json}}}'
