"""The supervisor with stand-in children, and its state folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_site.local.processes import Child, StackError, require_free_port
from gateway_site.local.state import (
    StateInUseError,
    acquire_lock,
    load_or_create_secret,
    make_private_folder,
    write_private_file,
)
from gateway_site.local.supervisor import (
    StopRequestedError,
    Supervisor,
    kill_leftovers,
    record_children,
)
from tests.support.processes import free_ports, is_listening
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

SERVE = "import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.BaseHTTPRequestHandler)"
SERVE += ".serve_forever()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def child(folder: Path, name: str, code: str = SERVE) -> Child:
    [port] = free_ports(1)
    return Child(
        name=name,
        command=[sys.executable, "-c", code.format(port=port)],
        environment={"PATH": os.environ["PATH"]},
        port=port,
        option=f"--{name}-port",
        log=folder / f"{name}.log",
    )


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "running.json", tmp_path) as supervisor:
        yield supervisor


def pid_of(child: Child) -> int:
    assert child.process is not None
    return child.process.pid


def test_children_are_ready_when_start_returns_and_gone_when_the_context_ends(
    tmp_path: Path,
) -> None:
    children = [child(tmp_path, "one"), child(tmp_path, "two")]
    with Supervisor(tmp_path / "running.json", tmp_path) as supervisor:
        supervisor.start(*children)
        assert all(is_listening(each.port) for each in children)
    assert not any(each.is_alive() for each in children)
    assert not (tmp_path / "running.json").exists()


@pytest.mark.slow
def test_children_end_in_reverse_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    telling = "import signal, sys, pathlib; "
    telling += f"f = pathlib.Path({str(order)!r}); "
    telling += (
        "signal.signal(signal.SIGTERM, lambda *_: (f.open('a').write('{name} '), sys.exit())); "
    )
    with Supervisor(tmp_path / "running.json", tmp_path) as supervisor:
        for name in ("one", "two", "three"):
            supervisor.start(child(tmp_path, name, telling.replace("{name}", name) + SERVE))
    assert order.read_text(encoding="utf-8").split() == ["three", "two", "one"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_watch(
    supervisor: Supervisor, tmp_path: Path, number: signal.Signals
) -> None:
    supervisor.start(child(tmp_path, "one"))
    os.kill(os.getpid(), number)
    with pytest.raises(StopRequestedError):
        supervisor.watch()


def test_signal_while_something_starts_ends_the_wait(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    never_ready = child(tmp_path, "one", "import time; time.sleep(60)")
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(StopRequestedError):
        supervisor.start(never_ready)


def test_signal_handlers_are_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Supervisor(tmp_path / "running.json", tmp_path):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_child_that_dies_is_named_with_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    one, two = child(tmp_path, "one"), child(tmp_path, "two")
    supervisor.start(one, two)
    os.kill(pid_of(one), signal.SIGKILL)
    with pytest.raises(StackError) as error:
        supervisor.watch()
    assert "The one has ended (killed by SIGKILL)" in str(error.value)
    assert str(one.log) in str(error.value)


def test_child_that_dies_before_it_is_ready_is_named_with_its_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    broken = child(tmp_path, "one", "raise SystemExit('cannot go on')")
    with pytest.raises(StackError, match=r"The one has ended \(exit status 1\)"):
        supervisor.start(broken)
    assert "cannot go on" in broken.log.read_text(encoding="utf-8")


def test_child_that_ignores_the_request_to_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_site.local.processes.END_WITHIN", 0.1)
    stubborn = child(tmp_path, "one", STUBBORN + SERVE)
    with Supervisor(tmp_path / "running.json", tmp_path) as supervisor:
        supervisor.start(stubborn)
    assert stubborn.process is not None
    assert stubborn.process.returncode == -signal.SIGKILL


def test_missing_program_is_named_and_running_ones_are_stopped(tmp_path: Path) -> None:
    one, two = child(tmp_path, "one"), child(tmp_path, "two")
    two.command = [str(tmp_path / "no-such-program")]
    with (
        pytest.raises(
            StackError, match=r"no-such-program cannot be run .*django-sessions-kms-gateway.local"
        ),
        Supervisor(tmp_path / "running.json", tmp_path) as supervisor,
    ):
        supervisor.start(one, two)
    assert not one.is_alive()


def test_port_in_use_names_the_child_and_the_option(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_site.local.supervisor.PORT_FREE_WITHIN", 0.1)
    one, two = child(tmp_path, "one"), child(tmp_path, "two")
    supervisor.start(one)
    two.port = one.port
    with pytest.raises(StackError, match=rf"Port {one.port}, for the two, .* --two-port"):
        supervisor.require_ports([two])
    assert two.process is None


def test_port_of_a_closed_connection_counts_as_free(tmp_path: Path) -> None:
    one = child(tmp_path, "one")
    with Supervisor(tmp_path / "running.json", tmp_path) as supervisor:
        supervisor.start(one)
    require_free_port(one.port, "one", "--one-port")


def test_step_returns_its_output(supervisor: Supervisor) -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['WORD'])"]
    assert supervisor.run_step("step", command, {"WORD": "said"}) == "said\n"


def test_step_that_fails_is_named_with_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such table')"]
    with pytest.raises(StackError, match=r"step failed \(exit status 1\): read .*step\.log"):
        supervisor.run_step("step", command, {})
    assert "no such table" in (tmp_path / "step.log").read_text(encoding="utf-8")


REFUSED = [
    (
        "Traceback (most recent call last):\n  ...\n"
        "django.core.exceptions.ImproperlyConfigured: LOG_LEVEL must be DEBUG.\n",
        "LOG_LEVEL must be DEBUG.",
    ),
    ("CommandError: The table cannot be made.\n", "The table cannot be made."),
    (
        "SystemCheckError: System check identified some issues:\n\nERRORS:\n"
        "?: (gateway.E001) X is missing.\n\tHINT: Set X.\n\n"
        "System check identified 1 issue.\n",
        "?: (gateway.E001) X is missing.\n\tHINT: Set X.",
    ),
]


@pytest.mark.parametrize(("log", "expected"), REFUSED, ids=["settings", "command", "checks"])
def test_configuration_error_from_django_is_quoted(
    supervisor: Supervisor, log: str, expected: str
) -> None:
    with pytest.raises(StackError) as error:
        supervisor.run_step("step", ["/bin/sh", "-c", f"printf '%s' \"{log}\" >&2; exit 1"], {})
    assert str(error.value) == expected


def test_unexpected_error_is_not_quoted_since_it_may_hold_a_secret(
    supervisor: Supervisor,
) -> None:
    with pytest.raises(StackError) as error:
        supervisor.run_step("step", ["/bin/sh", "-c", "echo 'ValueError: secret' >&2; exit 1"], {})
    assert "secret" not in str(error.value)


def test_log_of_the_run_before_is_kept(supervisor: Supervisor, tmp_path: Path) -> None:
    for word in ("first", "second"):
        supervisor.run_step("step", ["/bin/sh", "-c", f"echo {word} >&2"], {})
    assert (tmp_path / "step.log.1").read_text(encoding="utf-8") == "first\n"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_child_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    one = child(tmp_path, "one")
    program = (
        "import sys; from pathlib import Path\n"
        "from gateway_site.local.processes import Child\n"
        "from gateway_site.local.supervisor import Supervisor\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with Supervisor(folder / 'running.json', folder) as supervisor:\n"
        f"    supervisor.start(Child('one', {list(one.command)!r}, {{}}, {one.port}, '', "
        f"Path({str(one.log)!r})))\n"
        "    print('ready', flush=True)\n"
        "    supervisor.watch()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert is_listening(one.port)
        process.kill()
    wait_until(lambda: not is_listening(one.port), "the child is gone", seconds=5)


def test_recorded_leftover_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record_children(path, [process.pid])
        kill_leftovers(path)
        assert process.wait(timeout=10) == -signal.SIGKILL
    assert not path.exists()


def test_process_that_merely_has_a_recorded_id_is_spared(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        record_children(path, [process.pid])
        recorded = path.read_text(encoding="utf-8")
        path.write_text(recorded.replace("input()", "other()"), encoding="utf-8")
        kill_leftovers(path)
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"99999999": "gone"}', "\x00"])
def test_unreadable_record_of_leftovers_is_forgotten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "running.json"
    path.write_text(text, encoding="utf-8")
    kill_leftovers(path)
    assert not path.exists()


def test_state_folder_is_locked_until_the_lock_is_closed(tmp_path: Path) -> None:
    with acquire_lock(tmp_path), pytest.raises(StateInUseError):
        acquire_lock(tmp_path)
    acquire_lock(tmp_path).close()


def test_secret_is_created_once_and_private(tmp_path: Path) -> None:
    folder = make_private_folder(tmp_path / "a" / "b")
    path = folder / "secret"
    assert load_or_create_secret(path, lambda: "first") == "first"
    assert load_or_create_secret(path, lambda: "second") == "first"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    write_private_file(path, "third")
    assert [each.name for each in folder.iterdir()] == ["secret"]


def test_open_folder_is_made_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert make_private_folder(tmp_path).stat().st_mode & 0o777 == 0o700
