"""The look of the simulator's pages: plain HTML and CSS, no script, and a banner that says what it is."""

from __future__ import annotations

from html import escape
from typing import Final

from metering.payments.simulator.calls import Page

_CSS: Final = """
:root { --ink: #1a1f36; --soft: #697386; --line: #d8dee4; --blue: #0a66c2; --wash: #f6f8fa; --red: #b3093c; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif;
  color: var(--ink); background: #fff; }
.banner { background: #ffd33d; color: #24292e; text-align: center; padding: .4rem 1rem; font-weight: 600;
  font-size: .875rem; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 4rem; align-items: start; }
.narrow { max-width: 30rem; margin: 0 auto; }
h1 { font-size: 1rem; font-weight: 500; color: var(--soft); margin: 0; }
h2 { font-size: 1.125rem; margin: 0 0 1rem; }
.amount { font-size: 2.25rem; font-weight: 600; margin: .25rem 0 1.5rem; letter-spacing: -.02em; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
th { text-align: left; font-weight: 400; } td { text-align: right; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child > * { border: 0; font-weight: 600; }
label { display: block; font-size: .875rem; font-weight: 500; margin: 1rem 0 .25rem; }
input, select { width: 100%; height: 2.8rem; font: inherit; padding: .6rem .75rem;
  border: 1px solid var(--line); border-radius: .375rem; background: #fff; color: inherit; }
input:focus, select:focus, button:focus-visible, a:focus-visible { outline: 3px solid #0a66c255;
  outline-offset: 1px; }
input[type=radio], input[type=checkbox] { width: auto; height: auto; margin: 0 .5rem 0 0; }
fieldset { border: 1px solid var(--line); border-radius: .5rem; padding: .25rem 1rem; margin: 1rem 0 0; }
fieldset label, label.box { display: flex; align-items: center; font-weight: 400; margin: .5rem 0; }
legend { font-size: .875rem; font-weight: 500; padding: 0 .25rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 .75rem; }
form:has(#bank:checked) .of-card { display: none; }
button { width: 100%; font: inherit; font-weight: 600; padding: .75rem; margin-top: 1.5rem; border: 0;
  border-radius: .375rem; background: var(--blue); color: #fff; cursor: pointer; }
button:hover { filter: brightness(.92); }
button.other { background: #fff; color: var(--ink); border: 1px solid var(--line); margin-top: .75rem; }
[role=alert] { border: 1px solid var(--red); border-radius: .375rem; background: #fff5f7; color: var(--red);
  padding: .75rem 1rem; margin: 0 0 1rem; }
.soft { color: var(--soft); font-size: .875rem; }
details { margin-top: 2rem; background: var(--wash); border-radius: .5rem; padding: .75rem 1rem;
  font-size: .8125rem; }
summary { cursor: pointer; font-weight: 500; }
details td { text-align: left; } details tr:last-child > * { font-weight: 400; }
code { font: .8125rem ui-monospace, "Liberation Mono", monospace; white-space: nowrap; padding-right: 1rem; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
@media (max-width: 46rem) { .columns { grid-template-columns: 1fr; gap: 2rem; }
  main { padding: 1.5rem 1rem; } }
"""


def page(title: str, body: str, status: int = 200) -> Page:
    """A whole page; `body` is HTML in which what came from elsewhere is escaped."""
    return Page(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(title)} · Stripe simulator</title>
<link rel="icon" href="data:,">
<style>{_CSS}</style>
</head>
<body>
<div class="banner" role="note">Stripe simulator – no real money. Use test cards only.</div>
<main>{body}</main>
</body>
</html>
""",
        status,
    )


def notice(title: str, text: str, link: str | None = None, status: int = 200) -> Page:
    """A page of a sentence, with a way onwards perhaps."""
    onwards = f'<p><a href="{escape(link)}">Continue</a></p>' if link else ""
    return page(
        title, f'<div class="narrow"><h2>{escape(title)}</h2><p>{escape(text)}</p>{onwards}</div>', status
    )


def away(location: str) -> Page:
    """Send the browser elsewhere, with GET."""
    return Page(status=303, location=location)


def dollars(cents: int) -> str:
    """123456 as "$1,234.56"."""
    return f"${cents // 100:,}.{cents % 100:02}"


def table(rows: list[tuple[str, str]]) -> str:
    """Rows of a name and a value."""
    return (
        "<table>"
        + "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
        + "</table>"
    )
