"""`metering stripe-simulator`: a Stripe on loopback, for development."""

from __future__ import annotations

import signal
import threading
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click


def _percent(_context: click.Context, _option: click.Parameter, value: str) -> Decimal:
    try:
        percent = Decimal(value)
    except InvalidOperation as error:
        raise click.BadParameter(f"{value!r} is no number") from error
    if not 0 <= percent <= 100:
        raise click.BadParameter("must be from 0 to 100")
    return percent


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port; a free one unless given.")
@click.option("--webhook-url", help="Where events are sent.")
@click.option("--webhook-secret", help="What signs them; whsec_… and a random one unless given.")
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps customers, cards, payments.",
)
@click.option(
    "--tax-percent", default="0", callback=_percent, help="Tax of a Checkout session that wants it."
)
def stripe_simulator(
    port: int, webhook_url: str | None, webhook_secret: str | None, data: Path | None, tax_percent: Decimal
) -> None:
    """Run a Stripe on loopback, without real money. Prints its URL when it is ready."""
    from metering.payments.simulator.refusals import Refusal
    from metering.payments.simulator.server import Simulator

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    try:
        made = Simulator(
            port=port,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            data=data,
            tax_percent=tax_percent,
        )
    except Refusal as error:
        raise click.ClickException(f"--webhook-url: {error}") from error
    except OSError as error:
        where = f"--port {port}" if error.filename is None else f"--data {error.filename}"
        raise click.ClickException(f"{where}: {error.strerror}") from error
    with made as simulator:
        click.echo(simulator.url)
        stopping.wait()
