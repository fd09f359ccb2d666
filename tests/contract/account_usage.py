"""The contract of `GET /v1/account/usage`, as something to hold an answer against."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import yaml

_FILE = Path(__file__).with_name("account_usage.yml")
# The only object that may have more than is documented, or less.
_OPEN = "metadata"
_FORMATS = jsonschema.FormatChecker(formats=["date-time"])


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or (bool(urlsplit(value).scheme) and not any(map(str.isspace, value)))


@cache
def contract() -> dict[str, Any]:
    """The document: `parameters`, `schemas` and `example`."""
    document: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return document


def validate(body: object) -> None:
    """Raise unless the answer is the contract's, with every documented field and none besides."""
    _validator("AccountUsageResponse").validate(body)


def validate_error(body: object) -> None:
    """Raise unless the answer is the contract's error."""
    _validator("Error").validate(body)


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        _resolved({"$ref": f"#/components/schemas/{name}"}), format_checker=_FORMATS
    )


def _resolved(schema: dict[str, Any], name: str = "") -> dict[str, Any]:
    """The schema without references, strict, and with null where it is nullable."""
    if "$ref" in schema:
        return _resolved(contract()["schemas"][schema["$ref"].rpartition("/")[2]])
    made = {key: value for key, value in schema.items() if key not in {"nullable", "example", "description"}}
    if "properties" in schema:
        made["properties"] = {key: _resolved(value, key) for key, value in schema["properties"].items()}
        if name != _OPEN:
            made |= {"required": sorted(made["properties"]), "additionalProperties": False}
    if "items" in schema:
        made["items"] = _resolved(schema["items"])
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") else made
