"""A real browser for tests: import the fixtures `chromium` and `tab`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_TIMEOUT_MILLISECONDS = 15_000


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """Chromium, headless; one for each test, for the thread is inside an event loop as long as it runs."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("There is no chromium, which pays on the simulator's page: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    """A tab without cookies, and without JavaScript: the simulator's pages need none."""
    context = chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(_TIMEOUT_MILLISECONDS)
    yield context.new_page()
    context.close()


def type_card(tab: Page, number: str = "4242 4242 4242 4242", expiry: str = "12 / 34") -> None:
    """Fill in the card on a Checkout page, and press its button."""
    tab.get_by_label("Card number").fill(number)
    tab.get_by_label("Expiry").fill(expiry)
    tab.get_by_label("CVC").fill("123")
    tab.get_by_label("Full name").fill("Jenny Rosen")
    tab.locator("form button").click()
