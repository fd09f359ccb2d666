"""Our own errors as a command says them: a message on standard error and exit code 1, no stack trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from metering.errors import MeteringError


@contextmanager
def explained() -> Iterator[None]:
    """Turn an error of the product that leaves the block into one that click prints."""
    try:
        yield
    except MeteringError as error:
        named = f"{error.param}: " if error.param else ""
        raise click.ClickException(f"{named}{error.message}") from error
