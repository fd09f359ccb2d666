"""What the model of the ledger is made to do: events good and odd, holds, moments, amounts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from metering.ledger.grants import GRANT_KINDS
from metering.usage.event import SOURCES
from tests.services import holds_oracle
from tests.services.ledger_oracle import ZERO
from tests.services.ledger_prices import HOUR, MODELS, Event

MAX_ACCOUNTS: Final = 2
BUDGET: Final = Decimal(2)
AMOUNTS: Final = [Decimal("1.5"), Decimal("0.25"), Decimal(2_500), Decimal("0.000000000001")]
WHY: Final = "why not"
WHO: Final = "a test"
IDS: Final = [f"event-{number}" for number in range(40)]
# On the full hour, just beside it and far from it, for that is where rollups are cut.
MOMENTS: Final = [
    HOUR + timedelta(microseconds=offset)
    for offset in (-3_600_000_000, -1, 0, 1, 1_800_000_000, 3_600_000_000)
]
OUT_OF_RANGE: Final = [HOUR - timedelta(days=100), HOUR + timedelta(days=1_000)]
# Whole multiples of ten minutes are what passes and what things last: nothing ends while a step is under way.
SPANS: Final = [timedelta(minutes=10), timedelta(minutes=20), timedelta(days=1)]

pauses = st.sampled_from([None] * 6 + SPANS)
places = st.integers(0, MAX_ACCOUNTS - 1)
books = st.sampled_from(["old", "old", "new"])
keys = st.sampled_from(["k1", "k2", "k3", "k4", "k5"])
# A number stands for what was made or sent as so many-th.
numbers = st.integers(0, 200)
grants = st.fixed_dictionaries(
    {
        "key": keys,
        "kind": st.sampled_from(GRANT_KINDS),
        "amount": st.sampled_from([*AMOUNTS, Decimal("1.5")]),
        "priority": st.sampled_from([1, 100, 100]),
        "lasts": st.sampled_from([None, None, *SPANS]),
    }
)
hold_amounts = st.sampled_from([ZERO, Decimal("0.25"), Decimal("1.5"), Decimal(2)])
hold_keys = st.none() | st.sampled_from(["h1", "h2"])
authorizations = st.fixed_dictionaries(
    {
        "place": places,
        "wanted": hold_amounts,
        "lasts": st.sampled_from(SPANS),
        "by": st.sampled_from(["account", "key", "secret"]),
        "idempotency_key": hold_keys,
    }
)
extensions = st.fixed_dictionaries(
    {
        "hold": numbers,
        "increment": hold_amounts,
        "lasts": st.none() | st.sampled_from(SPANS),
        "idempotency_key": hold_keys,
    }
)
Group: TypeAlias = dict[str, Any]
Asked: TypeAlias = holds_oracle.Authorize | holds_oracle.Extend | holds_oracle.Void
voids = st.fixed_dictionaries({"hold": numbers})


def _events(**odd: list[Any]) -> st.SearchStrategy[Event]:
    """Events that are recorded, but for what is `odd` about them."""
    tokens = st.sampled_from([250_000, 2_000_000, 1, 5_000])
    fields = {
        "id": st.sampled_from(IDS),
        "account_id": places,
        "created_at": st.sampled_from(MOMENTS),
        "source": st.sampled_from(SOURCES),
        "model": st.sampled_from(["chat", "chat", *MODELS]),
        "status": st.sampled_from(["success", "success", "success", "error"]),
        "usage": st.fixed_dictionaries({"prompt_tokens": tokens}, optional={"completion_tokens": tokens}),
        "supersedes": st.sampled_from([None, None, None, None, 0, 1, 2, 3]),
        "hold_id": st.sampled_from([None, None, None, 0, 1, 2]),
        "api_key_id": st.sampled_from([None, None, 0]),
    }
    return st.fixed_dictionaries(fields | {name: st.sampled_from(values) for name, values in odd.items()})


good_events = _events()
odd_events = (
    _events(account_id=[MAX_ACCOUNTS])
    | _events(created_at=OUT_OF_RANGE)
    | _events(usage=[{}, {"prompt_tokens": -1}])
    | _events(supersedes=IDS[:2])
    | _events(id=IDS[:2])
)
# Most of what fails in the world is what is sent again.
sendings = st.one_of(*[good_events] * 8, odd_events, numbers, numbers)
batches = st.lists(sendings, min_size=1, max_size=8)
moments = (
    st.none() | st.sampled_from(MOMENTS) | st.sampled_from(MOMENTS).map(lambda at: at + timedelta(seconds=7))
)
