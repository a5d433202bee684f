"""docs/guides/restore.md: an ended session of the backup stays ended, and people can sign in."""

import shutil

import pytest

from tests import ROOT
from tests.guides.runner import Reader
from tests.support.processes import free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
]


def test_restore(reader: Reader) -> None:
    reader.own = {"8000": str(free_port())}
    reader.follow(ROOT / "docs/guides/django.md")  # whose project the guide continues
    reader.follow(ROOT / "docs/guides/restore.md")
