"""An empty folder, a shell, AWS on this machine, and an index with this tree's distributions."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway_site.local.environment import build_aws
from gateway_site.local.options import Ports
from tests import ROOT
from tests.guides.runner import Reader
from tests.guides.terminal import open_terminal
from tests.packaging.building import SOURCES, build_wheel
from tests.release.environment import PAIRS
from tests.support.local_kms import running_kms
from tests.support.roto import running_roto


def programs() -> dict[str, list[str]]:
    """Return the commands that stand in for a reader's programs."""
    python = PAIRS[-1].python
    aws = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.guides.aws"]
    return {"aws": aws, "python": [python], "python3": [python]}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheels of this tree."""
    pytest.importorskip("hatchling", reason="NO PACKAGE WAS BUILT: install hatchling")
    pytest.importorskip("babel", reason="NO PACKAGE WAS BUILT: install babel")
    folder = tmp_path_factory.mktemp("wheels")
    for name, source in SOURCES.items():
        shutil.copy(build_wheel(source, tmp_path_factory.mktemp(name)), folder)
    return folder


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where pip reaches no index: guides install what they need."""
    folder = tmp_path_factory.mktemp("index")
    command = [sys.executable, "-m", "pip", "--retries=0", "--timeout=10", "download"]
    done = subprocess.run(
        [*command, "--no-deps", f"--dest={folder}", "asgiref"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"NO PACKAGE INDEX: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture
def variables(tmp_path: Path, wheels: Path) -> Iterator[dict[str, str]]:
    """Give the variables of a reader's shell: AWS, and `pip` and `uv` find the wheels."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, command in programs().items():
        path = folder / name
        path.write_text("\n".join(["#!/bin/sh", f'exec {" ".join(command)} "$@"', ""]))
        path.chmod(0o755)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "UV_", "SSL_")) or name in {"HOME", "LANG"}
    }
    with running_roto() as dynamodb, running_kms() as kms:
        yield (
            kept
            | build_aws(Ports(dynamodb=port_of(dynamodb), kms=port_of(kms.url)))
            | {
                "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin",
                "PIP_FIND_LINKS": f"{kept.get('PIP_FIND_LINKS', '')} {wheels}",
                "UV_FIND_LINKS": str(wheels),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "NO_COLOR": "1",
                "TERM": "dumb",
                "AWS_STAND_IN": str(tmp_path / "stacks"),
            }
        )


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.fixture
def reader(tmp_path: Path, variables: dict[str, str], index: None) -> Iterator[Reader]:
    """Give a reader in an empty folder. Set `own` before `follow`, where the page needs it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with open_terminal(folder, variables) as terminal:
        yield Reader(folder, terminal)
