"""The pytest plugin: what it imports, and what it undoes."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import ROOT
from tests.sessions_kms.testing.suite_project import ENTRY_POINT, SuiteProject, require_success

HELPERS = """
from importlib import import_module

from django.conf import settings


def open_session(key=None):
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def make_session(**content):
    session = open_session()
    session.update(content)
    session.save()
    return session.session_key


def content_of(key):
    return dict(open_session(key).items())
"""
SCOPES = """
import pytest
from helpers import content_of, make_session, open_session

keys = {}


@pytest.fixture(scope="session")
def of_session():
    keys["session"] = make_session(of="session")
    return keys["session"]


@pytest.fixture(scope="module")
def of_module():
    keys["module"] = make_session(of="module")
    return keys["module"]


@pytest.fixture(scope="class")
def of_class():
    keys["class"] = make_session(of="class")
    yield keys["class"]
    assert content_of(keys["class"]) == {"of": "class"}


class TestClass:
    def test_stores_and_changes(self, of_class, of_module, request):
        assert content_of(of_class) == {"of": "class"}
        late = request.getfixturevalue("of_session")
        assert content_of(late) == {"of": "session"}
        keys["test"] = make_session(of="test")
        for key in (of_class, of_module):
            session = open_session(key)
            session["of"] = "changed"
            session.save()

    def test_finds_what_its_scopes_stored(self, of_class, of_module, of_session):
        found = [content_of(key)["of"] for key in (of_class, of_module, of_session)]
        assert found == ["class", "module", "session"]
        assert content_of(keys["test"]) == {}


def test_finds_nothing_of_a_class_that_has_ended(of_session, of_module, session_store):
    assert content_of(keys["class"]) == {}
    assert content_of(of_module) == {"of": "module"}
    session_store.advance(days=8)
    assert content_of(of_module) == {}


def test_starts_at_the_present_time(of_module):
    assert content_of(of_module) == {"of": "module"}


@pytest.fixture
def signed_in_first():
    return make_session(of="function")


@pytest.fixture(autouse=True)
def of_every_test():
    keys.setdefault("autouse", []).append(make_session(of="autouse"))


def test_fixtures_of_a_test_are_undone(signed_in_first):
    *earlier, own = keys["autouse"]
    assert earlier
    assert [content_of(key) for key in earlier] == [{}] * len(earlier)
    assert content_of(own) == {"of": "autouse"}
"""
ANOTHER_MODULE = """
from helpers import content_of
from test_scopes import keys


def test_finds_nothing_of_a_module_that_has_ended():
    assert content_of(keys["module"]) == {}
    assert content_of(keys["session"]) == {"of": "session"}
"""


@pytest.fixture
def project(tmp_path: Path) -> SuiteProject:
    project = SuiteProject(tmp_path)
    project.write("helpers.py", HELPERS)
    return project


@pytest.mark.slow
def test_each_scope_has_what_it_stored(project: SuiteProject) -> None:
    project.write("test_scopes.py", SCOPES)
    project.write("test_scopes_later.py", ANOTHER_MODULE)
    assert "6 passed" in require_success(project.pytest())


@pytest.mark.slow
def test_plugin_imports_nothing_before_a_test_does(tmp_path: Path) -> None:
    """Also in a suite without Django."""
    project = SuiteProject(tmp_path, run=subprocess.run)
    (tmp_path / "pytest.ini").unlink()
    project.write(
        "test_plain.py",
        "import sys\n\ndef test_plain():\n"
        "    heavy = ('django', 'boto3', 'botocore', 'cryptography')\n"
        "    assert [name for name in heavy if name in sys.modules] == []\n"
        "    ours = sorted(name for name in sys.modules if name.startswith('sessions_kms'))\n"
        "    assert ours == ['sessions_kms', 'sessions_kms.testing',"
        " 'sessions_kms.testing.pytest_plugin']\n",
    )
    unwanted = ["-pno:django", "-pno:randomly", "-pno:timeout", "-pno:asyncio", "-pno:xdist"]
    printed = require_success(project.python("-m", "pytest", "-q", ENTRY_POINT, *unwanted))
    assert "1 passed" in printed


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["db", "signed_cookies"])
def test_plugin_does_nothing_in_projects_with_another_engine(
    project: SuiteProject, engine: str
) -> None:
    project.write("settings.py", f'SESSION_ENGINE = "django.contrib.sessions.backends.{engine}"\n')
    project.write(
        "test_other.py",
        """
        import sys

        import pytest


        @pytest.fixture(scope="class")
        def of_class():
            return 1


        class TestOther:
            @pytest.mark.django_db
            def test_one(self, client, of_class):
                assert client.get("/count").content == b"1"
                assert "sessions_kms.testing.memory_store" not in sys.modules


        def test_fixture_names_the_setting(session_store):
            pass
        """,
    )
    done = project.pytest()
    assert "1 passed, 1 error" in done.stdout or "1 failed, 1 passed" in done.stdout
    assert (
        f"SESSION_ENGINE is 'django.contrib.sessions.backends.{engine}'. Set it to" in done.stdout
    )


def test_distribution_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert f"-p{module}" == ENTRY_POINT
