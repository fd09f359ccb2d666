"""`metering up`: everything from nothing, with a demo account, in one command."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

import click

from metering.app import App, Storage, build, load_price_book
from metering.cli.companions import Companion
from metering.cli.serve import base_url, configure, listen, run
from metering.config import Settings, own_environment
from metering.services.cashier import low_balance_of
from metering.services.demo import Demo, open_demo
from metering.storage.database import migrate

DEMO_FILE: Final = "demo.json"
# They open nothing but the simulator, which listens on this machine alone.
_SIMULATOR_KEY: Final = "sk_test_simulator"
_SIMULATOR_SECRET: Final = "whsec_simulator"  # noqa: S105  (no secret)
Result = TypeVar("Result")


@click.command()
def up() -> None:
    """Start everything: database, schema, price book, demo account, service, worker. Ctrl-C stops it.

    Without a key of Stripe's, a simulator on this machine takes the payments: no money moves.
    """
    environment = own_environment()
    settings = Settings.from_environment(environment)
    configure(settings)
    started = time.monotonic()
    listener = listen(settings.host, settings.port)
    url, file = base_url(listener), settings.home / DEMO_FILE
    with ExitStack() as stack:
        simulator = None
        if settings.stripe is None:
            simulator = stack.enter_context(start_simulator(settings, url))
        storage = _step("database", lambda: Storage.open(settings, _detail), lambda _: "answers")
        _step("schema", lambda: migrate(storage.owner_url), lambda done: f"{len(done)} migrations applied")
        book = _step(
            "price book", lambda: load_price_book(settings), lambda book: f"{len(book.models)} models"
        )
        more = _step("payments", lambda: payments(settings, simulator), lambda _: _takes(settings))
        environment |= more
        app = build(Settings.from_environment(environment), storage.database, book)
        stack.callback(app.close)
        demo = _step("demo account", lambda: _open_demo(app, settings, file), lambda demo: demo.account_id)
        write_demo(file, demo, url)

        def on_started() -> None:
            # Its news are for who runs it by itself.
            quiet = {"METERING_LOG_LEVEL": "WARNING"} | environment
            stack.enter_context(Companion("worker", environment=quiet))
            _announce(demo, url, file, time.monotonic() - started)
            _announce_payments(settings, demo, url, more)

        run(app, listener, on_started)
    click.echo("stopped")


def _open_demo(app: App, settings: Settings, file: Path) -> Demo:
    return open_demo(
        app.database,
        read_demo(file),
        api_key_prefix=settings.api_key_prefix,
        low_balance_pico=low_balance_of(app.services.cashier),
    )


def start_simulator(settings: Settings, url: str) -> Companion:
    """A simulator that keeps what it knows in the home directory, and tells the service what happens."""
    settings.home.mkdir(parents=True, exist_ok=True)
    return Companion(
        "stripe-simulator",
        *("--port", str(_free_port(settings.port + 1))),
        *("--webhook-url", f"{url}/webhooks/stripe", "--webhook-secret", _SIMULATOR_SECRET),
        *("--data", str(settings.home / "stripe-simulator.jsonl")),
        environment=own_environment(),
        is_heard=True,
    )


def payments(settings: Settings, simulator: Companion | None) -> dict[str, str]:
    """What the service's and the worker's environment needs more: mail goes to a directory unless set up."""
    more = {} if settings.mail_url else {"METERING_MAIL_URL": f"maildir:{settings.home / 'mail'}"}
    if simulator is not None:
        more["METERING_STRIPE_API_KEY"] = _SIMULATOR_KEY
        more["METERING_STRIPE_WEBHOOK_SECRET"] = _SIMULATOR_SECRET
        more["METERING_STRIPE_API_BASE"] = simulator.first_line()
    return more


def _takes(settings: Settings) -> str:
    if settings.stripe is None:
        return "SIMULATED: no real money"
    return "LIVE: real money" if settings.stripe.is_live else "Stripe's test mode"


def _free_port(wanted: int) -> int:
    """The wanted port, which keeps the simulator's addresses alive, or 0 where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError):
            return 0
    return wanted


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


def _announce_payments(settings: Settings, demo: Demo, url: str, more: dict[str, str]) -> None:
    click.echo(f"""\
  curl -s {url}/v1/account/top_ups -H 'Authorization: Bearer {demo.api_key}' \\
    -d '{{"amount": 25}}'
""")
    if settings.stripe is None:
        click.secho("  PAYMENTS ARE SIMULATED. No card is charged, no money moves.", bold=True)
        click.echo("  Open the `url` that the last command answers, and pay with 4242 4242 4242 4242.")
        click.echo("  METERING_STRIPE_API_KEY=sk_test_… uses Stripe's own test mode instead.")
        click.echo(
            "  `metering top-ups settle | refund` and `metering jobs run`, in another shell, are to be told:"
        )
        click.echo("    export " + " \\\n      ".join(f"{name}={value}" for name, value in more.items()))
    else:
        click.secho(f"  Payments: {_takes(settings)}.", bold=settings.stripe.is_live)
        click.echo(f"  stripe listen --forward-to {url}/webhooks/stripe    # brings webhooks to this machine")
    if settings.mail_url is None:
        click.echo(f"  Mail is kept in {settings.home / 'mail'}.")
    click.echo()
