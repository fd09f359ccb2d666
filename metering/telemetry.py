"""What the service tells its operator: metrics, and logs without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge, Histogram

# One cause, one place: a metric is made here and counted where the thing happens.
EVENTS_TOTAL: Final = Counter(
    "metering_events_total",
    "Usage events by outcome: accepted, duplicate, conflict, unpriced, rejected.",
    ["outcome"],
)
HOLDS_TOTAL: Final = Counter(
    "metering_holds_total",
    "Calls about holds by outcome: granted, repeated, extended, voided, or the code of the refusal.",
    ["outcome"],
)
UNBILLED_TOTAL: Final = Counter(
    "metering_unbilled_total",
    "Events whose usage has a number that no charge names, by field; `other` beyond a hundred fields.",
    ["field"],
)
INGEST_SECONDS: Final = Histogram(
    "metering_ingest_seconds",
    "From an ingest call's arrival to its answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BATCH_EVENTS: Final = Histogram(
    "metering_batch_events", "Events in one ingest call.", buckets=(1, 10, 100, 1_000, 10_000)
)
GROUP_EVENTS: Final = Histogram(
    "metering_group_commit_events",
    "Events recorded in one transaction.",
    buckets=(1, 4, 16, 64, 256, 1_024, 4_096, 16_384),
)
COMMIT_SECONDS: Final = Histogram(
    "metering_commit_seconds",
    "One recording transaction, COMMIT included.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
BREACHES: Final = Gauge(
    "metering_ledger_breaches", "Breaches of a law of the books found by the last check, by law.", ["law"]
)
UNPRICED_EVENTS: Final = Gauge("metering_unpriced_events", "Recorded events that have no price yet.")
UNSETTLED_TOTAL: Final = Counter(
    "metering_unsettled_payments_total",
    "What the payment processor told of a top-up and was not posted, for somebody to look at, by reason.",
    ["reason"],
)
PROCESSOR_MESSAGES: Final = Counter(
    "metering_processor_messages_total",
    "Messages of the payment processor: received, repeated, swept (they had never come), and what became of "
    "those that were looked at: settled, ignored, delayed, failed.",
    ["outcome"],
)
JOB_RUNS: Final = Counter(
    "metering_job_runs_total",
    "Runs of jobs by outcome: done or failed; late as well when one ran past its deadline.",
    ["job", "outcome"],
)
JOB_SECONDS: Final = Histogram(
    "metering_job_seconds",
    "One run of a job.",
    ["job"],
    buckets=(0.01, 0.1, 1, 10, 60, 300, 1_800, 7_200),
)
MAILS_TOTAL: Final = Counter(
    "metering_mails_total", "Tries to send a mail by outcome: sent, delayed, failed.", ["outcome"]
)
WEBHOOKS_TOTAL: Final = Counter(
    "metering_webhooks_total",
    "Calls of customers' webhooks by outcome: delivered, delayed, failed.",
    ["outcome"],
)

for _outcome in ("accepted", "duplicate", "conflict", "unpriced", "rejected"):
    EVENTS_TOTAL.labels(_outcome)

_SECRET_NAMES: Final = frozenset(
    {"authorization", "x-api-key", "x_api_key", "token", "api_key", "secret", "password"}
)
_SECRET: Final = (
    r"\b(?:sk-[\w-]*?|mst-|[sr]k_(?:live|test)_|whsec_)[\w+/=-]{16,}|(?<=://)[^/@\s]+(?=@)|(?<=bearer )\S+"  # noqa: S105  (what one looks like)
)
_REDACTED: Final = "[redacted]"


def redactor(key_prefix: str) -> structlog.typing.Processor:
    """Blank what must not be in a log: by its name, or because it looks like a key or a URL's password.

    `key_prefix` is what customers' keys begin with here.
    """
    secret = re.compile(rf"(?i){_SECRET}|{re.escape(key_prefix)}[\w-]{{8,}}")

    def clean(value: object) -> object:
        if isinstance(value, str):
            return secret.sub(_REDACTED, value)
        if isinstance(value, bytes):
            return clean(value.decode("latin-1"))
        if isinstance(value, Mapping):
            return {name: _REDACTED if _is_secret(name) else clean(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            # A header as ASGI has it: a name and its value.
            hides = len(value) == 2 and _is_secret(value[0])
            return [clean(value[0]), _REDACTED] if hides else [clean(inner) for inner in value]
        return value

    def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in event.items():
            # The records of other libraries are carried along under private names.
            if not name.startswith("_"):
                event[name] = _REDACTED if _is_secret(name) else clean(value)
        return event

    return redact


def _is_secret(name: object) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return isinstance(text, str) and text.lower() in _SECRET_NAMES


def configure_logging(level: str, key_prefix: str) -> None:
    """One JSON object a line on standard error, from structlog and from the libraries alike."""
    redact = redactor(key_prefix)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.ExtraAdder(), redact],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # What these tell of a normal start, `metering up` and the service tell in their own words.
    for library in ("alembic", "stripe", "uvicorn.error"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # A job that is still running when its time comes again is no news.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def log(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that says events with fields: `log(__name__).info("started", port=8080)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


_unbilled_fields: set[str] = set()
_MAX_FIELDS: Final = 100


def count_unbilled(fields: Iterable[str]) -> None:
    """Count one event's unbilled fields; what customers send must not make metrics without end."""
    for field in fields:
        if field in _unbilled_fields or len(_unbilled_fields) < _MAX_FIELDS:
            _unbilled_fields.add(field)
            UNBILLED_TOTAL.labels(field).inc()
        else:
            UNBILLED_TOTAL.labels("other").inc()
