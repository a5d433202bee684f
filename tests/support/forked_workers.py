"""Run the collected tests in forks of the process that collected them.

pytest-xdist has each worker import and collect all tests again, for ten seconds of CPU each. A fork
has them already, and sends one message for each test and each warning.
"""

import gc
import os
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from selectors import EVENT_READ, DefaultSelector
from tempfile import TemporaryFile
from typing import Any
from warnings import WarningMessage

import pytest
from _pytest import runner
from _pytest.capture import CaptureManager, FDCapture
from _pytest.threadexception import collect_thread_exception
from _pytest.unraisableexception import collect_unraisable

from tests.support.forking import Fork
from tests.support.shares import NO_TEST, Shares

END_WITHIN = 60.0  # seconds, for what a worker's fixtures started


class SilentReporter:
    """Takes the place of the terminal's reporter in a worker: other plugins ask for its writer."""

    def __init__(self, config: pytest.Config) -> None:
        self._tw = config.get_terminal_writer()


def capture_apart(manager: CaptureManager) -> None:
    """Have the files that output is captured in be others than before the fork.

    The objects stay: handlers of logs hold them.
    """
    captured = manager._global_capturing
    for each in [captured.out, captured.err] if captured else []:
        if isinstance(each, FDCapture):
            with TemporaryFile() as file:
                os.dup2(file.fileno(), each.tmpfile.fileno())


class Worker:
    """Runs tests in a fork, and sends what their reports say."""

    def __init__(self, session: pytest.Session, number: int, shares: Shares, sent: Connection):
        self.number = number
        self._session = session
        self._config = session.config
        self._shares = shares
        self._sent = sent
        self._reports: list[dict[str, Any]] = []
        self._is_separate = False

    def run(self) -> None:
        self._separate()
        try:
            self._run_tests()
        except BrokenPipeError:
            return  # The controller has ended.
        except (KeyboardInterrupt, pytest.exit.Exception) as error:
            self._send("stop", (False, str(error) or type(error).__name__))
        finally:
            runner.pytest_sessionfinish(self._session)  # tears down what is left
        gc.collect()
        collect_unraisable(self._config)
        collect_thread_exception(self._config)
        self._send("end", None)

    def _separate(self) -> None:
        """Share neither the terminal nor captured output with the others."""
        plugins: Any = self._config.pluginmanager
        silent = SilentReporter(self._config)
        plugins.unregister(name="terminalreporter")
        plugins.register(silent, "terminalreporter")
        plugins.register(self)
        capture_apart(plugins.get_plugin("capturemanager"))
        os.register_at_fork(after_in_child=self._sent.close)
        self._is_separate = True

    def _run_tests(self) -> None:
        session = self._session
        while (taken := self._shares.advance(self.number)) is not None:
            item, following = (None if each is None else session.items[each] for each in taken)
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail or session.shouldstop:
                self._send("stop", (session.shouldfail, session.shouldstop))
                return

    def _send(self, kind: str, data: Any) -> None:
        with suppress(BrokenPipeError):
            self._sent.send((kind, data))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        option = self._config.option
        is_asked_for = option.durations is not None or option.xmlpath
        has_failed = any(each["outcome"] == "failed" for each in self._reports)
        if report.when == "call" or not report.passed or has_failed or is_asked_for:
            told = {"config": self._config, "report": report}
            self._config.hook.pytest_report_teststatus(**told)  # A failed part fails the test.
            self._reports.append(self._config.hook.pytest_report_to_serializable(**told))

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self._sent.send(("test", (nodeid, location, self._reports)))
        self._reports = []

    def pytest_warning_recorded(
        self, warning_message: WarningMessage, when: str, nodeid: str, location: Any
    ) -> None:
        if self._is_separate:  # not one that the controller knows
            text, name = str(warning_message.message), warning_message.category.__name__
            place = warning_message.filename, warning_message.lineno
            self._send("warning", (text, name, place, (when, nodeid, location)))


class Controller:
    """Starts the workers, and tells pytest what they send."""

    def __init__(self, session: pytest.Session, workers: int) -> None:
        self._session = session
        self._hook = session.config.hook
        self._shares = Shares(len(session.items), workers)
        self._running: dict[Connection, tuple[int, Fork]] = {}
        self._watched = DefaultSelector()
        self._told = 0
        for number in range(workers):
            self._start(number)

    def _start(self, number: int) -> None:
        received, sent = Pipe(duplex=False)
        theirs = [*self._running, received]
        worker = Worker(self._session, number, self._shares, sent)

        def run() -> None:
            for each in theirs:  # or a worker would not notice that the controller has ended
                each.close()
            worker.run()

        fork = Fork(run)
        sent.close()
        self._running[received] = (number, fork)
        for end in (received, fork.ended):
            self._watched.register(end, EVENT_READ, received)

    def run(self) -> None:
        """Return when all tests have run, or raise what stopped them."""
        try:
            while self._running:
                ready = self._watched.select(END_WITHIN if self._is_stopped else None)
                if not ready:
                    break
                for pipe in {key.data for key, _ in ready}:
                    self._receive(pipe)
        finally:
            for pipe in self._running:  # so that a worker that still sends something ends
                pipe.close()
            for _, fork in self._running.values():
                fork.join(END_WITHIN)
        if not self._is_stopped and self._told < len(self._session.items):
            self._session.shouldfail = "not all tests have run"
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    @property
    def _is_stopped(self) -> bool:
        return bool(self._session.shouldfail or self._session.shouldstop)

    def _receive(self, pipe: Connection) -> None:
        kind: str = "crash"
        data: Any = None
        with suppress(EOFError, OSError):  # of a message that was not sent to its end, too
            if pipe.poll():  # not if the worker has ended, and a child of it holds the pipe open
                kind, data = pipe.recv()
        match kind:
            case "test":
                self._tell(*data)
            case "warning":
                self._warn(*data)
            case "stop":
                session = self._session
                session.shouldfail = session.shouldfail or data[0]
                session.shouldstop = session.shouldstop or data[1]
            case _:
                number, fork = self._running.pop(pipe)
                for end in (pipe, fork.ended):
                    self._watched.unregister(end)
                pipe.close()
                code = fork.join(END_WITHIN)
                if kind == "crash":
                    self._replace(number, code)
        if self._is_stopped:
            self._shares.clear()

    def _tell(self, nodeid: str, location: Any, reports: list[Any]) -> None:
        for data in reports:
            report = self._hook.pytest_report_from_serializable(
                config=self._session.config, data=data
            )
            self._hook.pytest_runtest_logreport(report=report)
        self._hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        self._told += 1

    def _warn(self, text: str, name: str, place: tuple[str, int], test: tuple[Any, ...]) -> None:
        message = WarningMessage(text, type(name, (Warning,), {}), *place)
        told = dict(zip(("when", "nodeid", "location"), test, strict=True))
        hook = self._hook.pytest_warning_recorded
        hook.call_historic(kwargs={"warning_message": message, **told})

    def _replace(self, number: int, code: int) -> None:
        """Count the test during which a worker died as failed, and have another run the rest."""
        running = self._shares.take_running(number)
        ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
        if running == NO_TEST:
            self._session.shouldfail = f"a worker ended with {ended} before or after its tests"
            return
        item = self._session.items[running]
        told = f"The process that ran this test ended with {ended}."
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", told, "call")
        self._hook.pytest_runtest_logreport(report=report)
        self._told += 1
        self._start(number)


def run_in_forks(session: pytest.Session, workers: int) -> None:
    """Run what was collected in this number of processes."""
    # One folder of temporary files for all, and removed as that of one process.
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # pytest's own
    Controller(session, min(workers, len(session.items))).run()
