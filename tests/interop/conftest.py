"""A gateway of a local stack, and providers of other projects. Run by `make interop`."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.e2e.conftest import browser, playwright, visitor
from tests.e2e.stack import LocalStack
from tests.interop.openid_provider import OpenIDProvider

__all__ = ["browser", "playwright", "visitor"]

NAMES = (
    *("oidc-provider", "canaille", "fastmcp", "typescript-sdk", "workerd", "mcp-clients"),
    "jose",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "a program that is not tested and may be missing"
    parser.addoption("--without", action="append", choices=NAMES, default=[], help=help_text)


# They need Node and take minutes: `make test` and `make test-long` do not run them.
collect_ignore_glob = [] if os.environ.get("INTEROP") else ["test_*.py"]


def skip_if_left_out(config: pytest.Config, name: str) -> None:
    """Skip a test if the command excludes its provider by name."""
    if name in config.getoption("--without"):
        pytest.skip(f"{name} is left out")


@pytest.fixture(scope="session")
def providers(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[dict[str, OpenIDProvider]]:
    """Run the gateway as a client of each kind of provider; yield the providers by name."""
    skip_if_left_out(pytestconfig, "oidc-provider")
    folder = tmp_path_factory.mktemp("interop")
    stack = LocalStack(folder / "state", LOG_LEVEL="DEBUG")
    kinds = (
        OpenIDProvider("plain", stack.url),
        OpenIDProvider("pushed", stack.url, pushed=True),
        OpenIDProvider("bound", stack.url, bound=True),
        OpenIDProvider("posted", stack.url, single_logout="post"),
        OpenIDProvider("revoking", stack.url, revocation="always"),
    )
    found = {each.name: each for each in kinds}
    for each in found.values():
        stack.variables |= each.variables
    with ExitStack() as all_of_it:
        for each in found.values():
            all_of_it.enter_context(each.running(folder / f"{each.name}.log"))
        all_of_it.enter_context(stack.running())
        STACK.append(stack)
        yield found
        STACK.clear()


@pytest.fixture
def stack(gateway: LocalStack) -> LocalStack:
    """The gateway whose pages `page` watches."""
    return gateway


@pytest.fixture
def page(visitor: BrowserContext, stack: LocalStack) -> Iterator[Page]:
    """A page; on the gateway's pages the console must stay empty (it shows CSP violations)."""
    complaints: list[str] = []
    opened = visitor.new_page()
    opened.set_default_timeout(10_000)
    opened.on(
        "console", lambda told: complaints.append(told.text) if stack.url in opened.url else None
    )
    yield opened
    assert complaints == []


STACK: list[LocalStack] = []


@pytest.fixture
def plain(providers: dict[str, OpenIDProvider]) -> OpenIDProvider:
    return providers["plain"]


@pytest.fixture
def gateway(providers: dict[str, OpenIDProvider]) -> LocalStack:
    return STACK[0]
