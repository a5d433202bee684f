"""One server per module; its application is reset between tests, and its clock only advances."""

from collections.abc import Iterator

import pytest

from tests.gateway_site.server.served import Application, Served, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with serving(Application()) as served:
        yield served


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    running.application.forget()
    yield running
    running.hang_up()
