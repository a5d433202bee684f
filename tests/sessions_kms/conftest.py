"""Stacks for the engine's tests: `stack` runs a test on every kind, `fake` on fakes only."""

from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
from pytest_django import Settings

from gateway_site.local.kms import LocalKMS, running_kms
from sessions_kms.backend import SessionStore
from tests.clock import FakeClock
from tests.sessions_kms.stacks import KINDS, Kind, Stack, running_roto, running_stack

MakeStack = Callable[..., Stack]


@pytest.fixture(scope="session")
def local_kms() -> Iterator[LocalKMS]:
    with running_kms() as kms:
        yield kms


@pytest.fixture(scope="session")
def roto_url() -> Iterator[str]:
    with running_roto() as url:
        yield url


@pytest.fixture(params=KINDS)
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
