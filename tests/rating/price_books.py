"""Random price books, each of which the compiler must accept, in the documents that YAML would give.

A card is made meter by meter: first how its lines are told apart (variants), then, for each variant, how it
is priced. So lines never overlap by construction, and everything that the grammar has turns up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

Line = dict[str, Any]

VOCABULARY: Mapping[str, Any] = {
    "meters": {
        "prompt_tokens": {"type": "integer", "unit": "token"},
        "completion_tokens": {"type": "integer", "unit": "token"},
        "total_tokens": {
            "type": "integer",
            "unit": "token",
            "sum_of": ["prompt_tokens", "completion_tokens"],
        },
        "cache_read_input_tokens": {"type": "integer", "unit": "token", "part_of": "prompt_tokens"},
        "cache_creation_input_tokens": {"type": "integer", "unit": "token", "part_of": "prompt_tokens"},
        "audio_input_tokens": {"type": "integer", "unit": "token", "part_of": "prompt_tokens"},
        "images": {"type": "integer", "unit": "image"},
        "videos": {"type": "integer", "unit": "video"},
        "duration_seconds": {"type": "number", "unit": "second"},
        "silent_seconds": {"type": "number", "unit": "second", "part_of": "duration_seconds"},
        "seconds": {"type": "number", "unit": "second"},
        "num_gpus": {"type": "integer", "unit": "GPU", "default": 1},
        "gpu_seconds": {"type": "number", "unit": "second", "product_of": ["seconds", "num_gpus"]},
        "requests": {"type": "integer", "unit": "request", "default": 1},
        "upstream_cost_usd": {"type": "number", "unit": "USD"},
    },
    "fields": {
        "quality": {"type": "string"},
        "mode": {"type": "string", "default": "plain"},
        "sound": {"type": "boolean"},
        "draft": {"type": "boolean", "default": False},
        "fps": {"type": "number"},
        "duration_seconds": {"type": "number"},
    },
}
VALUES: Mapping[str, list[Any]] = {
    "quality": ["low", "high", "best"],
    "mode": ["plain", "fast"],
    "sound": [True, False],
    "draft": [True, False],
    "fps": [24, 30, 60],
    "duration_seconds": [5, 8],
    "num_gpus": [1, 2],
}
EDGES = ["10", "1K", "32K", "1M"]
WHOLES = ["prompt_tokens", "duration_seconds"]
PARTS = {
    "prompt_tokens": ["cache_read_input_tokens", "cache_creation_input_tokens", "audio_input_tokens"],
    "duration_seconds": ["silent_seconds"],
}
TOOLS = ["tools.web_search", "tools.fetch"]
CHANGE = date(2026, 7, 1)


def amounts(places: int = 12) -> st.SearchStrategy[str]:
    """Quoted decimals from zero to a thousand, with trailing zeros and up to so many places."""
    digits = st.text("0123456789", min_size=1, max_size=places)
    whole = st.integers(0, 999).map(str)
    return st.one_of(whole, st.builds(lambda left, right: f"{left}.{right}", whole, digits))


def units(meter: str) -> st.SearchStrategy[str]:
    """What a rate of the meter can be per."""
    if meter.endswith("seconds"):
        return st.sampled_from(["second", "minute", "hour", "30 seconds", "minute of audio"])
    return st.sampled_from(["token", "1M tokens", "1k things", "1,000 words", "7 units", "3 pages"])


@st.composite
def rate_cards(draw: st.DrawFn) -> list[Line]:
    """The charges of one edition."""
    lines: list[Line] = []
    chosen = draw(
        st.lists(
            st.sampled_from(
                [
                    *WHOLES,
                    *WHOLES,
                    "completion_tokens",
                    "total_tokens",
                    "images",
                    "gpu_seconds",
                    *TOOLS,
                    "requests",
                    "task",
                ]
            ),
            unique=True,
            min_size=1,
            max_size=4,
        )
    )
    for meter in chosen:
        if meter == "requests":
            lines += draw(with_variants("requests", flat()))
        elif meter == "task":
            lines += draw(with_variants("upstream_cost_usd", st.one_of(percentage(), dynamic())))
        elif meter == "images" and draw(st.booleans()):
            lines += draw(pooled())
        else:
            lines += draw(with_variants(meter, one_meter(meter)))
        for part in PARTS.get(meter, []):
            if draw(st.integers(0, 3)):
                lines += draw(part_lines(part, meter, lines))
    return [line | {"charge": f"{line['charge']} {number}"} for number, line in enumerate(lines)]


@st.composite
def with_variants(draw: st.DrawFn, meter: str, priced: st.SearchStrategy[list[Line]]) -> list[Line]:
    """The meter's lines once, or once for each variant of a field or two; some values have no line."""
    lines = []
    for when in draw(variants()):
        lines += [line | ({"when": when} if when else {}) for line in draw(priced)]
    return [{"charge": meter, "accept": ["unusual_rate", "cached_above_input"]} | line for line in lines]


@st.composite
def variants(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Disjoint variants; one that asks for nothing is the only one."""
    fields = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=draw(st.integers(0, 2))))
    combined: list[dict[str, Any]] = [{}]
    for field in fields:
        first, *others = draw(st.permutations(VALUES[field]))
        if draw(st.booleans()):
            choices: list[Any] = [[first, others[0]], *others[1:]]
        else:
            choices = draw(st.lists(st.sampled_from([first, *others]), unique=True, min_size=1))
        combined = [when | {field: choice} for when in combined for choice in choices]
    return combined


@st.composite
def one_meter(draw: st.DrawFn, meter: str) -> list[Line]:
    """One variant's lines for a meter."""
    kind = draw(st.sampled_from(["per_unit", "volume", "per_unit", "volume", "graduated", "package", "task"]))
    per = draw(units(meter))
    if kind == "per_unit":
        return [{"meter": meter, "per": per, "rate": draw(amounts(18))}]
    if kind == "package":
        return [{"meter": meter, "model": "package", "per": f"{draw(st.integers(1, 9))} {_unit(meter)}",
                 "rate": draw(amounts())}]  # fmt: skip
    if kind == "task":
        lines = draw(st.one_of(percentage(), dynamic()))
        return [line | {"meter": meter} for line in lines]
    edges: list[str] = draw(st.lists(st.sampled_from(EDGES), unique=True, min_size=1, max_size=3))
    edges.sort(key=EDGES.index)
    open_end = draw(st.booleans())
    body: Line = {"meter": meter, "model": kind, "per": per}
    if kind == "volume" and draw(st.booleans()):
        body["tier_by"] = draw(st.sampled_from(["prompt_tokens", "total_tokens", "images", "gpu_seconds"]))
    steps: list[Line] = [{"above": 0}] if draw(st.booleans()) else [{}]
    steps += [{"above": edge} for edge in edges]
    for step, edge in zip(steps, edges, strict=False):
        step["up_to"] = edge
    return [body | step | {"rate": draw(amounts(18))} for step in (steps if open_end else steps[:-1])]


def _unit(meter: str) -> str:
    return "seconds" if meter.endswith("seconds") else "things"


@st.composite
def part_lines(draw: st.DrawFn, part: str, whole: str, lines: list[Line]) -> list[Line]:
    """A part's own lines, or so much percent off the whole's where that has a rate for each unit."""
    pro_rata = all(
        line.get("model", "per_unit") in {"per_unit", "volume"}
        for line in lines
        if line.get("meter") == whole
    )
    if pro_rata and draw(st.booleans()):
        off = {
            "meter": part,
            "percent_off": draw(st.sampled_from(["44", "0", "100", "33.333"])),
            "spec": "off",
        }
        return draw(with_variants(part, st.just([off])))
    return draw(with_variants(part, one_meter(part)))


@st.composite
def pooled(draw: st.DrawFn) -> list[Line]:
    """One line that prices two meters, at one rate or at a rate each."""
    if draw(st.booleans()):
        line: Line = {"meter": ["images", "videos"], "per": "3 things", "rate": draw(amounts())}
    else:
        line = {
            "rates": {"images": draw(amounts()), "videos": draw(amounts())},
            "per": "thing",
            "text": "two",
        }
    return draw(with_variants("images", st.just([line])))


@st.composite
def flat(draw: st.DrawFn) -> list[Line]:
    """A fee per request."""
    return [{"model": "flat", "per": "request", "rate": draw(amounts())}]


@st.composite
def percentage(draw: st.DrawFn) -> list[Line]:
    """Cost plus a mark-up, with a floor, a cap, both or neither."""
    return [{"model": "percentage", "per": "task", "percent": draw(amounts(4))} | draw(limits())]


@st.composite
def dynamic(draw: st.DrawFn) -> list[Line]:
    """The upstream cost between two amounts, or a default."""
    default = {"default": draw(amounts())} if draw(st.booleans()) else {}
    return [{"model": "dynamic", "per": "task", "text": "at cost"} | draw(limits()) | default]


@st.composite
def limits(draw: st.DrawFn) -> Line:
    """A minimum, a maximum, both (in order) or neither."""
    least, most = sorted(draw(st.tuples(st.integers(0, 90), st.integers(0, 90))))
    both = {"minimum": f"{least}.5", "maximum": f"{most}.75"}
    return {name: both[name] for name in draw(st.lists(st.sampled_from(sorted(both)), unique=True))}


@st.composite
def price_books(draw: st.DrawFn) -> dict[str, Any]:
    """The documents of a book with one model, `m`, sometimes with later editions."""
    body: Line = {"name": "M", "category": "Test", "charges": draw(rate_cards())} | draw(limits())
    if draw(st.integers(0, 3)) == 0:
        later: Line = {"effective": CHANGE, "charges": draw(rate_cards())} | draw(limits())
        latest: Line = {"effective": "2026-08-01T12:00:00+02:00", "charges": draw(rate_cards())}
        body["editions"] = [later, latest]
    return _documents(body)


def book_of(charges: list[Line], **facts: object) -> dict[str, Any]:
    """The documents of a book with one model, `m`, of these charges."""
    return _documents({"name": "M", "category": "Test", "charges": charges} | facts)


def _documents(body: Line) -> dict[str, Any]:
    return {
        "book.yml": {"currency": "USD", "grammar": 1},
        "meters.yml": VOCABULARY,
        "providers/p.yml": {"provider": "P", "models": {"m": body}},
    }


def moments() -> st.SearchStrategy[datetime]:
    """Moments around the changes of price."""
    changes = [datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, 10, tzinfo=UTC)]
    around = [-timedelta(microseconds=1), timedelta(0), timedelta(microseconds=1)]
    return st.sampled_from([change + step for change in changes for step in around])
