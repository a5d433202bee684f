"""The progress that a command prints."""

import io

import pytest

from sessions_kms.management import base


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_counted_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(base, "INTERVAL", 0)
    drawn = Terminal() if is_terminal else io.StringIO()
    command = base.OperatorCommand(stderr=drawn)
    command.is_quiet = False
    with command.progress("items", total=1_234) as advance:
        advance()
        advance(1_000)
    written = drawn.getvalue()
    assert ("items: 1 of 1,234" in written) is is_terminal
    assert ("items: 1,001 of 1,234" in written) is is_terminal
    assert written.endswith("\x1b[K\r") is is_terminal, "the line is left behind"
