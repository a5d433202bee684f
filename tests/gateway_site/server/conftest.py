"""One server per module; its application is reset between tests, and its clock only advances."""

from collections.abc import Iterator

import pytest

from tests.gateway_site.server.served import Application, Served, serving

Running = tuple[Served, Application]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    application = Application()
    with serving(application) as served:
        yield served, application


@pytest.fixture
def served(running: Running) -> Iterator[Served]:
    yield running[0]
    running[0].hang_up()


@pytest.fixture
def application(running: Running) -> Application:
    running[1].forget()
    return running[1]
