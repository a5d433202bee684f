"""Empty environments with what is in dist/, on the oldest and the newest Python and Django."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.release.environment import PAIRS, Environment, Pair
from tests.sessions_kms.conftest import make_stack

__all__ = ["make_stack"]

collect_ignore_glob = [] if os.environ.get("RELEASE_DIST") else ["test_*.py"]

Installer = Callable[[str], Environment]


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Pair, str], Environment]:
    """Install requirements into an environment of their own; the same one for each use."""

    @cache
    def install(pair: Pair, requirement: str) -> Environment:
        environment = Environment(tmp_path_factory.mktemp("environment"), pair)
        environment.install(*requirement.split())
        return environment

    return install


@pytest.fixture(params=PAIRS, ids=lambda pair: pair.name)
def install(
    request: pytest.FixtureRequest, installed: Callable[[Pair, str], Environment]
) -> Installer:
    """Install a requirement on the pair of this test."""
    return lambda requirement: installed(request.param, requirement)


@pytest.fixture
def fresh(tmp_path: Path) -> Environment:
    """An environment in which nothing is installed yet, on the newest pair."""
    return Environment(tmp_path / "environment", PAIRS[-1])
