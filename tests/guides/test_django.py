"""docs/guides/django.md, with Wagtail: its tests pass, and its user stays signed in."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests import ROOT
from tests.guides.runner import Reader
from tests.support.processes import free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("curl") is None, reason="NO CURL: install curl"),
]


def test_django(reader: Reader) -> None:
    reader.own = {"8000": str(free_port())}
    reader.follow(ROOT / "docs/guides/django.md")
    with closing(sqlite3.connect(reader.folder / "db.sqlite3")) as database:
        assert database.execute("SELECT count(*) FROM django_session").fetchone() == (0,)
