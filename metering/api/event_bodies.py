"""From request bodies to usage events: JSON in three shapes, NDJSON, and CloudEvents 1.0 in its three modes.

Numbers are decoded as the decimals they spell. A body that is not JSON is an error of the call; an event
that is not right is one of its own, so that it never sinks its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import unquote
from uuid import UUID

import msgspec
from msgspec import Meta

from metering.api.encoding import UNREADABLE, invalid_field, not_json, read_number
from metering.errors import AccountNotFound, InvalidParameter, PayloadTooLarge
from metering.usage.event import MAX_ID, MAX_NAME, Source, Status, UsageEvent

MAX_EVENTS: Final = 10_000
MAX_DEPTH: Final = 64
_NDJSON: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_NO_LINKS: Final = (None, None, None)
_CLOUD_EVENT: Final = "application/cloudevents+json"
_CLOUD_BATCH: Final = "application/cloudevents-batch+json"

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
_Text = Annotated[str, Meta(max_length=10_000)]
_Url = Annotated[str, Meta(max_length=10_000, pattern=r"^[A-Za-z][A-Za-z0-9+.\-]*:\S+(?!\s)$")]


class EventBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A usage event as the gateway sends it. `created_at` is when the work was done, with its zone.

    `hold_id` is the hold that it captures, `api_key_id` the key through which the request came, and
    `supersedes` the id of an event whose figures this one replaces: then the difference is charged.
    """

    id: _Id
    account_id: str
    model: _Name
    created_at: Annotated[datetime, Meta(tz=True)] | None = None
    source: Source = "api"
    endpoint: _Text | None = None
    status: Status = "success"
    status_code: Annotated[int, Meta(ge=0, le=999)] | None = None
    error: _Text | None = None
    request_id: _Text | None = None
    latency_ms: Annotated[int, Meta(ge=0, lt=2**53)] | None = None
    usage: dict[str, Any] = {}
    output_urls: list[_Url] = []
    metadata: dict[str, Any] | None = None
    # Absent unless given, so that the digest of an event without them stays what it always was.
    hold_id: _Id | msgspec.UnsetType = msgspec.UNSET
    api_key_id: _Id | msgspec.UnsetType = msgspec.UNSET
    supersedes: Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | msgspec.UnsetType = msgspec.UNSET


class CloudEventBody(msgspec.Struct, frozen=True):
    """A CloudEvents 1.0 envelope: `source` and `id` are the identity, `subject` the account."""

    specversion: str
    id: _Id
    source: _Name
    type: _Name
    subject: str | None = None
    time: Annotated[datetime, Meta(tz=True)] | None = None
    data: dict[str, Any] = {}


class Rejection(NamedTuple):
    """An event that could not be read: its id as far as it is known, and the error."""

    id: str | None
    error: InvalidParameter | AccountNotFound


class Received(NamedTuple):
    """One event of a call: the id as it was sent, and the event or why there is none."""

    id: str | None
    event: UsageEvent | Rejection


_EVENT: Final = msgspec.json.Decoder(EventBody, float_hook=read_number)
_EVENTS: Final = msgspec.json.Decoder(list[EventBody], float_hook=read_number)
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CLOUD: Final = msgspec.json.Decoder(CloudEventBody, float_hook=read_number)
_ANY: Final = msgspec.json.Decoder(float_hook=read_number)
_CANONICAL: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")


def read_events(body: bytes, content_type: str, headers: Mapping[str, str], now: datetime) -> list[Received]:
    """The events of a call, in order; `headers` have lower-case names.

    Raises `InvalidParameter` for a body that is not JSON of one of the shapes, and `PayloadTooLarge` for
    too many events.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if "ce-specversion" in headers:
        return [_read_binary_cloud_event(body, headers, now)]
    if media_type in _NDJSON:
        lines = [line for line in body.splitlines() if line.strip()]
        return [_read_one(line, now) for line in _bounded(lines)]
    if media_type == _CLOUD_EVENT:
        return [_read_cloud_event(_well_formed(_RAW.decode, body), now)]
    if media_type == _CLOUD_BATCH:
        return [_read_cloud_event(raw, now) for raw in _bounded(_well_formed(_RAW_LIST.decode, body))]
    return _read_json(body, now)


def _read_json(body: bytes, now: datetime) -> list[Received]:
    start = body.lstrip()[:1]
    if start == b"{":
        fields = _well_formed(_RAW_OBJECT.decode, body)
        if "events" not in fields:
            return [_read_one(body, now)]
        unknown = sorted(fields.keys() - {"events"})
        if unknown:
            raise InvalidParameter(f"unknown field {unknown[0]!r} beside `events`", param=unknown[0])
        body = bytes(fields["events"])
        start = body.lstrip()[:1]
    if start != b"[":
        _well_formed(_ANY.decode, body)
        raise InvalidParameter('send an event, a list of events, or {"events": [...]}', param="events")
    try:
        bodies = _EVENTS.decode(body)
    except (msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        raws = _bounded(_well_formed(_RAW_LIST.decode, body))
        return [_read_one(bytes(raw), now) for raw in raws]
    except msgspec.DecodeError as error:
        raise not_json(error) from error
    return [Received(one.id, _event(one, one.id, now)) for one in _bounded(bodies)]


def _read_one(raw: bytes | msgspec.Raw, now: datetime) -> Received:
    try:
        one = _EVENT.decode(raw)
    except UNREADABLE as error:
        return _unreadable(raw, error)
    return Received(one.id, _event(one, one.id, now))


def _read_cloud_event(raw: bytes | msgspec.Raw, now: datetime) -> Received:
    try:
        envelope = _CLOUD.decode(raw)
    except UNREADABLE as error:
        return _unreadable(raw, error)
    return _unwrap(envelope, now)


def _unreadable(raw: bytes | msgspec.Raw, error: Exception) -> Received:
    sent_id = _sent_id(raw)
    return Received(sent_id, Rejection(sent_id, invalid_field(error)))


def _read_binary_cloud_event(body: bytes, headers: Mapping[str, str], now: datetime) -> Received:
    # Attributes are percent-encoded in headers (CloudEvents' HTTP binding, 3.1.3.2).
    fields: dict[str, Any] = {
        name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")
    }
    fields["data"] = _well_formed(_ANY.decode, body) if body.strip() else {}
    try:
        envelope = msgspec.convert(fields, CloudEventBody)
    except (msgspec.ValidationError, RecursionError) as error:
        return Received(fields.get("id"), Rejection(fields.get("id"), invalid_field(error)))
    return _unwrap(envelope, now)


def _unwrap(envelope: CloudEventBody, now: datetime) -> Received:
    """The event inside; the envelope's id, source, subject and time stand for the event's own."""
    if envelope.specversion != "1.0":
        error = InvalidParameter("only CloudEvents 1.0 is understood", param="specversion")
        return Received(envelope.id, Rejection(envelope.id, error))
    fields = {**envelope.data, "id": envelope.id}
    if envelope.subject is not None:
        fields["account_id"] = envelope.subject
    if envelope.time is not None:
        fields.setdefault("created_at", envelope.time)
    # `#` ends the source, so it is escaped there: two identities never become one id.
    identity = f"{envelope.source.replace('%', '%25').replace('#', '%23')}#{envelope.id}"
    if len(identity) > MAX_ID:
        error = InvalidParameter(f"source and id together have more than {MAX_ID} characters", param="source")
        return Received(envelope.id, Rejection(envelope.id, error))
    if "\0" in envelope.source:
        error = InvalidParameter("must not contain the character U+0000", param="source")
        return Received(envelope.id, Rejection(envelope.id, error))
    try:
        one = msgspec.convert(fields, EventBody)
    except (msgspec.ValidationError, RecursionError) as error:
        return Received(envelope.id, Rejection(envelope.id, invalid_field(error)))
    return Received(envelope.id, _event(one, identity, now))


def _event(body: EventBody, event_id: str, now: datetime) -> UsageEvent | Rejection:
    account_id = _canonical_uuid(body.account_id)
    if account_id is None:
        return Rejection(body.id, AccountNotFound("There is no such account.", param="account_id"))
    links = _links(body, event_id)
    if isinstance(links, InvalidParameter):
        return Rejection(body.id, links)
    try:
        canonical = _CANONICAL.encode(body)
    except RecursionError:
        canonical = b""
    # The cheap signs first; only where one shows is the event walked through.
    suspicious = (
        not canonical or b"\\u0000" in canonical or canonical.count(b"{") + canonical.count(b"[") > MAX_DEPTH
    )
    if suspicious and (problem := _find_unstorable(body)) is not None:
        return Rejection(body.id, problem)
    return UsageEvent(
        event_id,
        account_id,
        now if body.created_at is None else body.created_at,
        body.source,
        body.model,
        body.endpoint,
        body.status,
        body.status_code,
        body.error,
        body.request_id,
        body.latency_ms,
        body.usage,
        body.output_urls,
        body.metadata,
        blake2b(canonical, digest_size=16).digest(),
        *links,
    )


def _links(body: EventBody, event_id: str) -> tuple[str | None, str | None, str | None] | InvalidParameter:
    """(hold_id, api_key_id, supersedes), or what is wrong with one of them; most events have none."""
    if body.hold_id is body.api_key_id is body.supersedes is msgspec.UNSET:
        return _NO_LINKS
    ids = {"hold_id": body.hold_id or None, "api_key_id": body.api_key_id or None}
    found = {name: value and _canonical_uuid(value) for name, value in ids.items()}
    for name, value in ids.items():
        if value is not None and found[name] is None:
            return InvalidParameter("must be a UUID", param=name)
    supersedes = body.supersedes or None
    if supersedes == event_id:
        return InvalidParameter("an event can't supersede itself", param="supersedes")
    return found["hold_id"], found["api_key_id"], supersedes


@lru_cache(maxsize=65_536)
def _canonical_uuid(text: str) -> str | None:
    """The UUID in canonical text, or None; cached, for a gateway's accounts come again and again."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


def _find_unstorable(body: EventBody) -> InvalidParameter | None:
    """What PostgreSQL could not keep or a reader not nest through, with its path."""
    stack: list[tuple[str, int, object]] = [
        (name, 0, getattr(body, name)) for name in EventBody.__struct_fields__
    ]
    while stack:
        path, depth, item = stack.pop()
        if depth > MAX_DEPTH:
            return InvalidParameter(
                f"nests deeper than {MAX_DEPTH} levels", param=path.split(".")[0].split("[")[0]
            )
        if "\0" in (item if isinstance(item, str) else path):
            return InvalidParameter("must not contain the character U+0000", param=path.replace("\0", "?"))
        if isinstance(item, dict):
            stack.extend((f"{path}.{key}", depth + 1, inner) for key, inner in item.items())
        elif isinstance(item, list):
            stack.extend((f"{path}[{index}]", depth + 1, inner) for index, inner in enumerate(item))
    return None


def _bounded(events: list[Any]) -> Iterable[Any]:
    if len(events) > MAX_EVENTS:
        raise PayloadTooLarge(f"A call takes up to {MAX_EVENTS:,} events; this one has {len(events):,}.")
    return events


def _well_formed(decode: Callable[[bytes], Any], body: bytes) -> Any:  # noqa: ANN401  (JSON)
    try:
        return decode(body)
    except UNREADABLE as error:
        raise not_json(error) from error


def _sent_id(raw: bytes | msgspec.Raw) -> str | None:
    """The id of an event that is otherwise wrong, if it can be made out."""
    try:
        sent = _RAW_OBJECT.decode(raw).get("id")
        return msgspec.json.decode(sent, type=str) if sent is not None else None
    except UNREADABLE:
        return None
