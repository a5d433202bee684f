"""Suites of other projects run on the test kit: by Django's runner and by pytest, in parallel."""

from pathlib import Path

import pytest

from tests.sessions_kms.testing.suite_project import SuiteProject, require_success

pytestmark = pytest.mark.slow

CASES = """
from importlib import import_module

from django.conf import settings
from django.contrib.auth.models import User
from django.test import AsyncClient, Client, LiveServerTestCase, TestCase

from sessions_kms.testing import SessionStoreMixin, store


def make_session(**content):
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session.update(content)
    session.save()
    return session.session_key


def content_of(key):
    return dict(import_module(settings.SESSION_ENGINE).SessionStore(key).items())


class Shared(SessionStoreMixin, TestCase):
    keys_of_tests = []

    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create_user("ada")
        cls.client_of_class = Client()
        cls.client_of_class.force_login(cls.user)
        cls.key = make_session(n=1)

    def change(self):
        self.assertEqual(content_of(self.key), {"n": 1})
        for key in self.keys_of_tests:
            self.assertEqual(content_of(key), {})
        session = import_module(settings.SESSION_ENGINE).SessionStore(self.key)
        session["n"] += 1
        session.save()
        self.assertEqual(content_of(self.key), {"n": 2})
        self.keys_of_tests.append(make_session(own=True))

    def test_one(self):
        self.change()

    def test_two(self):
        self.change()

    def test_client_of_the_class_is_signed_in(self):
        self.assertEqual(self.client_of_class.get("/me").content, b"ada")
        self.client_of_class.logout()

    def test_client_of_the_class_is_signed_in_again(self):
        self.assertEqual(self.client_of_class.get("/me").content, b"ada")
        self.client_of_class.logout()

    def test_session_ends_as_time_passes(self):
        store.advance(days=6)
        self.assertEqual(content_of(self.key), {"n": 1})
        store.advance(days=2)
        self.assertEqual(content_of(self.key), {})

    async def test_async_client(self):
        client = AsyncClient()
        await client.aforce_login(self.user)
        self.assertEqual((await client.get("/me")).content, b"ada")
        for n in (b"1", b"2"):
            self.assertEqual((await client.get("/acount")).content, n)


class Subsequent(SessionStoreMixin, TestCase):
    def test_nothing_of_another_class_is_left(self):
        self.assertEqual([key for key in Shared.keys_of_tests if content_of(key)], [])
        if hasattr(Shared, "key"):  # In parallel, another process may have it.
            self.assertEqual(content_of(Shared.key), {})
            print("LEFT NOTHING")


class Served(SessionStoreMixin, LiveServerTestCase):
    def test_server_and_test_share_the_store(self):
        from http.cookies import SimpleCookie
        from urllib.request import Request, urlopen

        response = urlopen(self.live_server_url + "/count")
        key = SimpleCookie(response.headers["Set-Cookie"])["sessionid"].value
        self.assertEqual(content_of(key), {"n": 1})
        request = Request(self.live_server_url + "/count", headers={"Cookie": f"sessionid={key}"})
        self.assertEqual(urlopen(request).read(), b"2")
        self.assertEqual(content_of(key), {"n": 2})
"""
MORE_CASES = """
from test_cases import Shared as Base


class Another(Base):
    keys_of_tests = []


del Base
"""


@pytest.fixture
def project(tmp_path: Path) -> SuiteProject:
    project = SuiteProject(tmp_path)
    project.write("test_cases.py", CASES)
    return project


def test_django_runner(project: SuiteProject) -> None:
    printed = require_success(project.manage("test"))
    assert "Ran 8 tests" in printed
    assert "no issues" in printed
    assert "LEFT NOTHING" in printed


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_django_runner_in_parallel(project: SuiteProject, method: str) -> None:
    project.write("test_more.py", MORE_CASES)
    project.write(
        "runner.py",
        f"""
        import multiprocessing

        from django.test.runner import DiscoverRunner

        multiprocessing.set_start_method({method!r}, force=True)


        class Runner(DiscoverRunner):
            pass
        """,
    )
    project.write("settings.py", 'TEST_RUNNER = "runner.Runner"\n')
    printed = require_success(project.manage("test", "--parallel=2"))
    assert "Ran 14 tests" in printed
    assert printed.count("Cloning test database") == 2


def test_pytest_also_without_the_mixin(project: SuiteProject) -> None:
    project.write("test_bare.py", CASES.replace("SessionStoreMixin, ", ""))
    printed = require_success(project.pytest("-rp"))
    assert printed.count("PASSED test_cases.py::") == printed.count("PASSED test_bare.py::") == 8


def test_xdist(project: SuiteProject) -> None:
    assert "8 passed" in require_success(project.pytest("-n2"))
