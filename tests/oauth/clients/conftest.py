"""Grants over a table in memory; people without a database."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.oauth.support.grants import BACKEND, GrantWorld, install_world, people


@pytest.fixture(autouse=True)
def _person(settings: Settings) -> Iterator[None]:
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    with people():
        yield


@pytest.fixture
def one(_person: None) -> GrantWorld:
    """One process."""
    return install_world()
