"""Fixtures of all tests: AWS cannot be reached, and time moves only when a test advances it."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from importlib import import_module
from itertools import count

import pytest
from _pytest import runner
from django.conf import settings
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from sessions_kms import hints, outages, services
from tests.support import warm_python
from tests.support.catalogs import compile_all
from tests.support.clock import FakeClock
from tests.support.database import copy_of_database, restored_from
from tests.support.forked_workers import run_in_forks
from tests.support.local_kms import LocalKMS, running_kms
from tests.support.roto import running_roto
from tests.support.shared_work import shared_work

AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    # An address where nothing listens: a test that names no endpoint must fail, not call AWS.
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}

# Fixtures that start many processes, once for all tests of a worker that use them.
KEPT = ("kept_stack", "kept_run", "gateway")
LONG_TIMEOUT = 600  # seconds
SHARED_ROTO = pytest.StashKey[str]()

ended_tests = count(1)

hypothesis_settings.register_profile("suite", derandomize=True, deadline=None, max_examples=100)
hypothesis_settings.load_profile("suite")

# Only the first call counts: a test that imports `gateway_site.asgi` changes no later message.
hints.use_program(hints.PROGRAM)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers",
        type=number_of_workers,
        default=0,
        metavar="N",
        help="how many forks run the tests; 'auto': one more than there are cores; 0: no fork",
    )


def number_of_workers(text: str) -> int:
    """Use one process more than there are cores: some tests wait, for processes or time-outs."""
    if text != "auto":
        return int(text)
    # Elsewhere, a process may not survive a fork after it used the system's libraries.
    return (os.cpu_count() or 1) + 1 if sys.platform == "linux" else 0


def pytest_configure() -> None:
    """Compile the catalogs of translations, before any process loads them.

    In the background of a shell SIGINT is ignored, and all processes would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    compile_all()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Have workers share one DynamoDB: each would take a hundredth of a core, also idle."""
    option = session.config.option
    is_broken = session.testsfailed and not option.continue_on_collection_errors
    if not option.workers or option.usepdb or option.collectonly or is_broken or not session.items:
        return None
    with ExitStack() as stack:
        if "DYNAMODB_URL" not in os.environ:
            session.config.stash[SHARED_ROTO] = stack.enter_context(running_roto())
        run_in_forks(session, option.workers)
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which nothing was tested: all may have been skipped, for want of a browser."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # not in a worker
    if reporter is None or session.config.option.collectonly or reporter.stats.get("passed"):
        return
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put together what uses one of the things that are kept, so that few workers start it.

    Long tests, and those of programs that others wrote, get more time before they count as hung:
    some start a whole stack twice, maybe on a machine that others use as well.
    """
    for item in items:
        takes_long = item.get_closest_marker("long") or item.path.parent.name == "interop"
        if takes_long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_TIMEOUT))

    def place(item: pytest.Item) -> int:
        names = getattr(item, "fixturenames", ())
        return next((place for place, name in enumerate(KEPT) if name in names), len(KEPT))

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run each test in a context of its own.

    Django makes a new context variable whenever a test changes certain settings. In one context
    they would all stay, and each change between thread and loop goes through all.
    """
    return with_room_for_frames(copy_context().run, runner.pytest_runtest_protocol, item, nextitem)


def with_room_for_frames(call: Callable[..., bool], *args: object) -> bool:
    return call(*args)


# CPython keeps the frames of a thread in chunks of 16 KB, and returns one to the system as soon as
# it is empty. Below pytest and Django, calls cross the end of a chunk all the time: 700 times a
# test, a twelfth of the suite's CPU. The chunk of one frame that claims 270 KB is of 512 KB, and
# has room for all below it.
with_room_for_frames.__code__ = with_room_for_frames.__code__.replace(co_stacksize=33_000)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from examining what was imported and collected.

    The addresses are imported before a test turns something on, or the gateway's own would have
    that for all others.
    """
    import_module(settings.ROOT_URLCONF)
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    """Freeze again now and then: what earlier tests left made each ``gc.collect`` take 0.2 s."""
    if next(ended_tests) % 200 == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _all_tests(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Prepare what all tests use; one fixture, since pytest looks at each of them for each test.

    The database comes first: long-lived threads keep the first one they see.
    """
    with django_db_blocker.unblock():
        copy = copy_of_database()
    with restored_from(copy), shared_work(), pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in AWS_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield
    warm_python.close()


@pytest.fixture(autouse=True)
def no_services() -> Iterator[None]:
    """Have a test begin without services, and hear of every outage."""
    limits = [each for handler in logging.root.handlers for each in handler.filters]
    for each in [outages.of_data_keys, *limits]:
        if isinstance(each, outages.OncePerMinute):
            each.forget()
    services.reset()
    yield
    services.reset()
    if (waiting := sys.modules.get("oauth.clients.timed_deletions")) is not None:
        waiting._waiting.forget()  # Nothing is deleted during another test.


# Here, for all folders, so that a process starts only one of each.


@pytest.fixture(scope="session")
def local_kms() -> Iterator[LocalKMS]:
    with running_kms() as kms:
        yield kms


@pytest.fixture(scope="session")
def roto_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """Give the address of a DynamoDB: roto's, or that of another engine which was named."""
    shared = pytestconfig.stash.get(SHARED_ROTO, None)
    if running := os.environ.get("DYNAMODB_URL") or shared:
        yield running
        return
    with running_roto() as url:
        yield url


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
