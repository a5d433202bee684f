"""Thread pools, background tasks and SQL connections of provider calls."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from oauth.network import http
from oauth.network.concurrency import (
    THREADS_PER_PROVIDER,
    Background,
    release_sql_connections,
    thread_pool,
)
from oauth.tokens.fresh_token import FreshToken
from tests import ROOT
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import get_token, request_in_threads
from tests.sessions_kms.support.stacks import Stack
from tests.support import warm_python


def test_hanging_provider_does_not_block_the_threads_of_another() -> None:
    go_on = threading.Event()
    hanging = [thread_pool("corp").submit(go_on.wait, 30) for _ in range(2 * THREADS_PER_PROVIDER)]
    try:
        for name in ("other", "corp-refresh", "refresh-corp"):
            assert thread_pool(name).submit(int, "7").result(20) == 7
    finally:
        go_on.set()
    assert all(each.result(30) for each in hanging)


def test_background_queue_is_bounded_and_runs_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    pool = Background(threads=1, waiting=2)
    started, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return go_on.wait(10)

    futures = [pool.submit(work)]
    assert started.wait(10)
    futures += [pool.submit(work) for _ in range(3)]
    assert [future.cancelled() for future in futures] == [False, False, False, True]
    assert "a task was dropped" in caplog.text
    assert not pool.drain(0)
    go_on.set()
    assert pool.drain(10)
    assert [future.result(0) for future in futures[:3]] == [True] * 3


def test_tasks_of_one_account_do_not_fill_the_queue() -> None:
    pool = Background(threads=1, waiting=8)
    started, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return go_on.wait(10)

    first = pool.submit(work, "ada")
    assert started.wait(10)
    futures = [pool.submit(work, "ada") for _ in range(20)]
    assert [future.cancelled() for future in futures] == [False] + [True] * 19
    others = [pool.submit(work, account) for account in ("grace", None)]
    assert not any(future.cancelled() for future in others)
    go_on.set()
    assert pool.drain(10)
    assert all(future.result(0) for future in [first, futures[0], *others])
    assert pool.submit(work, "ada").result(10)
    assert pool.drain(10)
    assert not pool._accounts


def test_error_in_a_background_task_does_not_end_the_thread() -> None:
    pool = Background(threads=1)
    failed = pool.submit(lambda: 1 // 0)
    assert pool.submit(lambda: 7).result(10) == 7
    assert isinstance(failed.exception(0), ZeroDivisionError)


@pytest.mark.parametrize(
    ("seconds", "at_least", "is_logged"), [(0.1, 0.1, False), (600.0, 1.0, True)]
)
def test_exiting_process_waits_at_most_a_second_and_logs_unfinished_work(
    seconds: float, at_least: float, is_logged: bool
) -> None:
    work = f"run_in_background(lambda: time.sleep({seconds}))"
    code = (
        "import django, time; django.setup()\n"
        f"from oauth.network.concurrency import run_in_background; {work}"
    )
    started = time.monotonic()
    ended = warm_python.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        check=True,
        timeout=100,  # far less than the longer work takes
        stderr=subprocess.PIPE,
        text=True,
    )
    assert time.monotonic() - started >= at_least
    assert ("unfinished background tasks" in ended.stderr) == is_logged


@contextmanager
def recorded(module: Any, name: str) -> Iterator[list[bool]]:
    """Yield a list; each call of a function adds whether this thread holds a connection."""
    held: list[bool] = []
    real: Callable[..., Any] = getattr(module, name)

    def recording(*arguments: Any, **more: Any) -> Any:
        held.append(connection.connection is not None)
        return real(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, recording)
        yield held


def test_sign_in_holds_no_sql_connection_during_provider_calls(
    corp: FakeProvider, visitor: Visitor, database_file: Path
) -> None:
    with recorded(http, "_run") as held:
        request_in_threads(lambda each: each.sign_in(corp), [visitor])
        request_in_threads(
            lambda each: each.sign_in(corp), [visitor]
        )  # the session is checked first
    assert len(held) >= 5  # the metadata; the token and user info requests, twice
    assert not any(held)


def test_oauth2_sign_in_holds_no_sql_connection_during_provider_calls(
    github: FakeProvider, visitor: Visitor, database_file: Path
) -> None:
    with recorded(http, "_run") as held:
        request_in_threads(lambda each: each.sign_in(github, "github"), [visitor])
    assert held
    assert not any(held)


def test_refresh_in_a_view_holds_no_sql_connection(
    corp: FakeProvider, visitor: Visitor, store: Stack, database_file: Path
) -> None:
    def use(visitor: Visitor) -> None:
        connection.ensure_connection()
        get_token(visitor)

    request_in_threads(lambda each: each.sign_in(corp), [visitor])
    store.clock.advance(4000)
    with recorded(FreshToken, "_refresh_if_possible") as held:
        request_in_threads(use, [visitor])
    assert held == [False]


@pytest.mark.django_db(transaction=True)
def test_connection_in_a_transaction_is_kept(database_file: Path) -> None:
    def use(_: Visitor) -> Any:
        with transaction.atomic():
            get_user_model().objects.create(username="half")
            release_sql_connections()
            return get_user_model().objects.exists()

    assert request_in_threads(use, [Visitor()]) == [True]
