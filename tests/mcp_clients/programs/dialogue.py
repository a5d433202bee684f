"""A program that stays open: it is given a line, and answers with lines."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Timer

from tests.mcp_clients.client import TIMEOUT, CallFailed


class Dialogue:
    """One such program at a time; ended where it does not answer in time."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._process: subprocess.Popen[str]

    def begin(
        self, command: Sequence[str | Path], env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        """Start or restart the program."""
        self.end()
        errors = self._open.enter_context(log.open("a", encoding="utf-8"))
        self._process = self._open.enter_context(
            subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        )
        self._open.callback(self._process.kill)

    def end(self) -> None:
        with suppress(BrokenPipeError):  # a last line that the program did not live to read
            self._open.close()

    def ask(self, line: str, is_response: Callable[[str], bool] = lambda _: True) -> str:
        """Give it a line; return the first that answers. Raises CallFailed where none does."""
        ending = Timer(TIMEOUT, self._process.kill)
        ending.start()
        try:
            return self._response(line, is_response)
        finally:
            ending.cancel()

    def _response(self, line: str, is_response: Callable[[str], bool]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CallFailed("The program has ended.") from None
        response = next(filter(is_response, self._process.stdout), None)
        if response is None:
            raise CallFailed("The program has ended, or does not answer.")
        return response
