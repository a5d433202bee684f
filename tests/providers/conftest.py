"""The fixtures of these tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from oauth.network import http
from oauth.provider import metadata
from tests.oauth.support.fixtures import configure, store, visitor
from tests.oauth.support.hostile import Internet
from tests.oauth.support.hostile_fixtures import internet
from tests.providers.stubs.stub import Stub, serving
from tests.sessions_kms.support.stacks import Stack

__all__ = ["internet", "store", "visitor"]

Serve = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    yield
    metadata.clear_metadata_cache()
    http._cached_tls_context.cache_clear()


@pytest.fixture
def serve(store: Stack, settings: Settings, internet: Internet, tmp_path: Path) -> Iterator[Serve]:
    """Return what serves a stub, and configures it by its environment, with changes."""
    with ExitStack() as stack:

        def serve_request(kind: type[Stub], **changes: str) -> Stub:
            provider = stack.enter_context(serving(kind, internet, tmp_path))
            provider.clock = store.clock
            prefix = f"OAUTH_{kind.name.upper()}_"
            own = {prefix + name: value for name, value in changes.items()}
            configure(settings, provider.environment | own)
            return provider

        yield serve_request
