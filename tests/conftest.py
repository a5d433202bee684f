"""Fixtures of all tests: AWS cannot be reached, and time moves only when a test advances it."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from contextvars import copy_context
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from _pytest import runner
from _pytest.assertion import rewrite
from django.conf import settings
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from sessions_kms import hints, outages, services
from tests.support import warm_python
from tests.support.catalogs import compile_all
from tests.support.clock import FakeClock
from tests.support.database import copy_of_database, restored_from
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
KEPT = ("kept_stack", "gateway")
LONG_TIMEOUT = 600  # seconds
SHARED_ROTO = pytest.StashKey[str]()

ended_tests = count(1)

hypothesis_settings.register_profile("suite", derandomize=True, deadline=None, max_examples=100)
hypothesis_settings.load_profile("suite")

# Only the first call counts: a test that imports `gateway_site.asgi` changes no later message.
hints.use_program(hints.PROGRAM)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the catalogs of translations, before any process loads them.

    In the background of a shell SIGINT is ignored, and all processes would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        compile_all()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have a worker send nothing that is not shown: the start of a test, a set-up that passed.

    To pack, send and unpack these takes more than a millisecond of CPU a test.
    """
    option = session.config.option
    if not hasattr(session.config, "workerinput") or option.durations or option.xmlpath:
        return
    plugins: set[Any] = session.config.pluginmanager.get_plugins()
    for worker in [each for each in plugins if type(each).__name__ == "WorkerInteractor"]:
        send = worker.sendevent

        def send_what_counts(name: str, send: Callable[..., None] = send, **event: Any) -> None:
            data = event.get("data", {})
            has_passed = data.get("when") in {"setup", "teardown"} and data["outcome"] == "passed"
            is_start = name == "logstart" and option.verbose <= 0
            if not has_passed and not is_start:
                send(name, **event)

        worker.sendevent = send_what_counts


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Have the workers share one DynamoDB: each would take a hundredth of a core, also idle."""
    config: pytest.Config = node.config
    if "DYNAMODB_URL" not in os.environ:
        if SHARED_ROTO not in config.stash:
            stack = ExitStack()
            config.stash[SHARED_ROTO] = stack.enter_context(running_roto())
            config.add_cleanup(stack.close)
        node.workerinput["roto_url"] = config.stash[SHARED_ROTO]


def pytest_unconfigure() -> None:
    warm_python.close()


def pytest_xdist_auto_num_workers() -> int:
    """Use one process more than there are cores: some tests wait, for processes or time-outs."""
    return (os.cpu_count() or 1) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which nothing was tested: all may have been skipped, for want of a browser."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # not in a worker
    if reporter is None or session.config.option.collectonly or reporter.stats.get("passed"):
        return
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put together what uses one of the things that are kept: one worker gets it, and starts it.

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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Where there is no byte code yet, have each worker make a part of it.

    If all began at the same file, each would make most of it: 20 s of CPU in a new clone.
    """
    worker: dict[str, Any] = getattr(session.config, "workerinput", {})
    folder = Path(__file__).parent
    if worker and not (folder / f"__pycache__/test_tiers{rewrite.PYC_TAIL}").exists():
        number = int(worker["workerid"].removeprefix("gw"))
        make_byte_code(sorted(folder.rglob("test_*.py"))[number :: worker["workercount"]], session)
    return (yield)


def make_byte_code(files: list[Path], session: pytest.Session) -> None:
    """Write what pytest writes as it imports tests: the code with `assert` rewritten."""
    for file in files:
        code = file.with_name("__pycache__") / f"{file.stem}{rewrite.PYC_TAIL}"
        if not code.exists() and not sys.dont_write_bytecode:
            source, rewritten = rewrite._rewrite_test(file, session.config)
            code.parent.mkdir(exist_ok=True)
            state = session.config.stash[rewrite.assertstate_key]
            rewrite._write_pyc(state, rewritten, source, code)


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
    """Keep the garbage collector from examining what was imported and collected."""
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    """Freeze again now and then: what earlier tests left made each ``gc.collect`` take 0.2 s."""
    if next(ended_tests) % 200 == 0:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _all_tests(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Prepare what all tests use; one fixture, since pytest looks at each of them for each test.

    The database comes first: long-lived threads keep the first one they see. The addresses are
    imported before a test turns something on, or the gateway's own would have that for all others.
    """
    import_module(settings.ROOT_URLCONF)
    with django_db_blocker.unblock():
        copy = copy_of_database()
    with restored_from(copy), shared_work(), pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in AWS_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


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
    worker: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    if running := os.environ.get("DYNAMODB_URL") or worker.get("roto_url"):
        yield running
        return
    with running_roto() as url:
        yield url


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
