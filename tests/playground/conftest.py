"""One browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.playground.browser import BUILT, DESKTOP, PHONE, Window, chromium, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with served(BUILT) as found:
        yield found


def opened(browser: Browser, address: str, **options: Any) -> Iterator[Window]:
    context = browser.new_context(**options)
    window = Window(context.new_page(), address)
    window.open()
    yield window
    context.close()
    window.assert_quiet()


@pytest.fixture
def window(browser: Browser, address: str) -> Iterator[Window]:
    """A new window of a desktop. After the test, the page must have been quiet."""
    yield from opened(browser, address, **DESKTOP)


@pytest.fixture
def phone(browser: Browser, address: str) -> Iterator[Window]:
    """The same on a phone."""
    yield from opened(browser, address, **PHONE)


@pytest.fixture(scope="module")
def shared_window(browser: Browser, address: str) -> Iterator[Window]:
    """A window for a whole table of states."""
    yield from opened(browser, address, **DESKTOP)
