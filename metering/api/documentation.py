"""What the OpenAPI document says of requests that the handlers read themselves."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from metering.api.event_bodies import MAX_EVENTS, EventBody
from metering.usage.event import SOURCES

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

_MOMENT: Final = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)
_LIMIT: Final = Schema(type=OpenAPIType.INTEGER, minimum=1, maximum=200, default=100)
_QUERY: Final = (
    ("limit", _LIMIT, "Number of usage events to return."),
    ("before", _MOMENT, "Return events created before this timestamp. Use `next_cursor` for pagination."),
    ("from", _MOMENT, "Include events created at or after this timestamp."),
    ("to", _MOMENT, "Include events created at or before this timestamp."),
    ("source", Schema(type=OpenAPIType.STRING, enum=list(SOURCES)), "Filter events by source."),
    ("model", Schema(type=OpenAPIType.STRING), "Filter to one model ID."),
    ("status", Schema(type=OpenAPIType.STRING, enum=["success", "error"]), "Filter by request status."),
)


class AmountSchema(OpenAPISchemaPlugin):
    """Amounts, which are `Decimal` in the bodies' types, leave as JSON numbers."""

    @staticmethod
    def is_plugin_supported_type(value: object) -> bool:
        """Whether it is an amount."""
        return value is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:  # noqa: ARG002
        """A number."""
        return Schema(type=OpenAPIType.NUMBER)


def object_schema(kind: type[msgspec.Struct]) -> Schema:
    """A body's own JSON Schema, as msgspec checks it."""
    _, components = msgspec.json.schema_components([kind], ref_template="{name}")
    return _schema(components[kind.__name__], components)


def body_of(
    kind: type[msgspec.Struct], *, required: tuple[str, ...] = (), is_optional: bool = False
) -> type[Operation]:
    """An operation whose body is a `kind`; `required` names fields that the decoder does not insist on."""

    @dataclass
    class Posted(Operation):
        def __post_init__(self) -> None:
            schema = object_schema(kind)
            schema.required = [*(schema.required or ()), *required]
            self.request_body = RequestBody(
                required=not is_optional, content={"application/json": OpenAPIMediaType(schema)}
            )

    return Posted


def _schema(described: dict[str, Any], components: dict[str, dict[str, Any]]) -> Schema:
    """A piece of JSON Schema in the framework's words; `components` are the types that it refers to."""
    if "$ref" in described:
        return _schema(components[described["$ref"]], components)
    words = {
        "type": "type", "format": "format", "enum": "enum", "default": "default", "pattern": "pattern",
        "minLength": "min_length", "maxLength": "max_length", "minimum": "minimum", "maximum": "maximum",
        "exclusiveMaximum": "exclusive_maximum", "exclusiveMinimum": "exclusive_minimum",
        "required": "required", "description": "description",
    }  # fmt: skip
    known = {words[key]: value for key, value in described.items() if key in words}
    if "properties" in described:
        known["additional_properties"] = False
        known["properties"] = {
            name: _schema(field, components)
            for name, field in described["properties"].items()
            if not field.get("deprecated")
        }
    if "anyOf" in described:
        known["any_of"] = [_schema(choice, components) for choice in described["anyOf"]]
    if isinstance(described.get("additionalProperties"), dict):
        known["additional_properties"] = _schema(described["additionalProperties"], components)
    if "propertyNames" in described:
        known["property_names"] = _schema(described["propertyNames"], components)
    if "items" in described:
        known["items"] = _schema(described["items"], components)
    return Schema(**known)


@dataclass
class UsageQuery(Operation):
    """`GET /v1/account/usage`: the contract's query parameters."""

    def __post_init__(self) -> None:
        """State them."""
        self.parameters = [
            Parameter(name=name, param_in="query", required=False, schema=schema, description=means)
            for name, schema, means in _QUERY
        ]


@dataclass
class EventsPosted(Operation):
    """Ingest and quote: an event, a list, or `{"events": [...]}`; lines of them; CloudEvents."""

    def __post_init__(self) -> None:
        """State the bodies."""
        event = object_schema(EventBody)
        events = Schema(type=OpenAPIType.ARRAY, items=event, max_items=MAX_EVENTS)
        wrapped = Schema(type=OpenAPIType.OBJECT, properties={"events": events}, required=["events"])
        cloud_event = Schema(type=OpenAPIType.OBJECT, description="A CloudEvents 1.0 envelope.")
        batch = Schema(type=OpenAPIType.ARRAY, items=cloud_event)
        text = Schema(type=OpenAPIType.STRING, description="An event a line.")
        self.request_body = RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(Schema(any_of=[event, events, wrapped])),
                "application/x-ndjson": OpenAPIMediaType(text),
                "application/cloudevents+json": OpenAPIMediaType(cloud_event),
                "application/cloudevents-batch+json": OpenAPIMediaType(batch),
            },
        )
