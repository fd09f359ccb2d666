"""`metering up`: everything from nothing, with a demo account, in one command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from metering.app import Storage, build, load_price_book
from metering.cli.serve import base_url, configure, listen, run
from metering.config import Settings
from metering.services.demo import Demo, open_demo
from metering.storage.database import migrate

DEMO_FILE: Final = "demo.json"
Result = TypeVar("Result")


@click.command()
def up() -> None:
    """Start everything: database, schema, price book, demo account, service. Ctrl-C stops it."""
    settings = Settings.from_environment()
    configure(settings)
    started = time.monotonic()
    listener = listen(settings.host, settings.port)
    file = settings.home / DEMO_FILE
    storage = _step("database", lambda: Storage.open(settings, _detail), lambda _: "answers")
    _step("schema", lambda: migrate(storage.owner_url), lambda done: f"{len(done)} migrations applied")
    book = _step("price book", lambda: load_price_book(settings), lambda book: f"{len(book.models)} models")
    app = build(settings, storage.database, book)
    try:
        demo = _step(
            "demo account",
            lambda: open_demo(app.database, read_demo(file), api_key_prefix=settings.api_key_prefix),
            lambda demo: demo.account_id,
        )
        write_demo(file, demo, base_url(listener))
        run(app, listener, lambda: _announce(demo, base_url(listener), file, time.monotonic() - started))
    finally:
        app.close()
    click.echo("stopped")


def read_demo(file: Path) -> Demo | None:
    """What an earlier run wrote, or None where there is nothing that can be read."""
    try:
        found = json.loads(file.read_text())
        return Demo(found["account_id"], found["api_key"], found["service_token"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_demo(file: Path, demo: Demo, url: str) -> None:
    """Write the keys for scripts to find; for their owner's eyes only, and never half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump({"base_url": url, **demo._asdict()}, out, indent=2)
        out.write("\n")
    unfinished.replace(file)


def _step(name: str, work: Callable[[], Result], describe: Callable[[Result], str]) -> Result:
    begun = time.monotonic()
    result = work()
    click.echo(f"{name:<14} {describe(result):<44} {time.monotonic() - begun:5.1f} s")
    return result


def _detail(text: str) -> None:
    click.echo(f"{'':<14} {text}")


def _announce(demo: Demo, url: str, file: Path, seconds: float) -> None:
    click.echo(f"{'serving':<14} {url:<44} {seconds:5.1f} s in all")
    click.echo(f"""
  documentation  {url}/docs
  account        {demo.account_id}
  API key        {demo.api_key}
  service token  {demo.service_token}
  (also in {file})

  curl -s {url}/v1/usage/events -H 'Authorization: Bearer {demo.service_token}' \\
    -d '{{"id": "first", "account_id": "{demo.account_id}", "model": "qwen3-max",
         "usage": {{"prompt_tokens": 1200, "completion_tokens": 300}}}}'
  curl -s {url}/v1/account/usage -H 'Authorization: Bearer {demo.api_key}'
""")
