"""Stacks for the engine's tests: `stack` runs a test on every kind, `fake` on fakes only."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from tests.sessions_kms.support import faulty as behind_proxies
from tests.sessions_kms.support.stacks import KINDS, MOTO, Kind, Stack, running_stack
from tests.support.clock import FakeClock

MakeStack = Callable[..., Stack]
make_faulty = behind_proxies.make_faulty
faulty = behind_proxies.faulty
# The folders whose subject is what is sent to AWS.
ON_SERVERS = {"contract", "storage", "sealed_items", "aws"}


@pytest.hookimpl(tryfirst=True)  # before cases are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark cases on real servers as slow, but for those whose subject is what is sent to AWS.

    A case on servers takes ten times the CPU of the same on fakes.
    """
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("make_stack") == "servers" and item.path.parent.name not in ON_SERVERS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def app_that_tests_install_hears_no_sign_in() -> Iterator[None]:
    """Have it connect to nothing: it would stay connected for tests that come later.

    What it would write goes into a table that is not there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("allauth.usersessions.apps.UserSessionsConfig.ready", lambda _: None)
        yield


def make_stack_on(*kinds: Any) -> Any:
    """Return the fixture `make_stack` that runs a test on each of these kinds."""

    @pytest.fixture(params=kinds)
    def make_stack(
        request: pytest.FixtureRequest,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings,
    ) -> Iterator[MakeStack]:
        kind: Kind = request.param
        settings.SESSION_ENGINE = "sessions_kms.backend"
        with running_stack(kind, clock, monkeypatch, request) as make:
            yield make

    return make_stack


make_stack = make_stack_on(*KINDS)
# For folders whose subject is not what is sent to AWS; their tests can name servers by `on_aws`.
make_stack_without_servers = make_stack_on("fake", MOTO)


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack()


@pytest.fixture
def make_fake(
    request: pytest.FixtureRequest,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> Iterator[MakeStack]:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    with running_stack("fake", clock, monkeypatch, request) as make:
        yield make


@pytest.fixture
def fake(make_fake: MakeStack) -> Stack:
    return make_fake()


@pytest.fixture
def store_class() -> type[SessionStore]:
    found: type[SessionStore] = import_module("sessions_kms.backend").SessionStore
    return found
