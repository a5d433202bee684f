"""A process that is told what to do: JSON commands in on stdin, one answer a line out on stdout.

It works only when told, so several that are told at once race. `TalkingProcess` is the test's
end; `say` and `obey` are the process's own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self, cast

from tests.support.processes import module


class TalkingProcess:
    """The handle that a test has of one such process, which dies with the block."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        """Run the module of that name, with these variables beside those of the test."""
        self._process = subprocess.Popen(
            module(name),
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        with self._process:
            pass

    def tell(self, do: str, **arguments: Any) -> None:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer to what it was told."""
        line = cast("IO[str]", self._process.stdout).readline()
        assert line, "the process died"
        return json.loads(line)

    def ask(self, do: str, **arguments: Any) -> Any:
        self.tell(do, **arguments)
        return self.answer()

    def kill(self) -> None:
        """End it without a chance to tidy up (kill -9)."""
        self._process.kill()
        self._process.wait()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None


def say(what: Any) -> None:
    """Answer, as the process."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def obey(commands: object) -> None:
    """Do what stdin tells, by the methods of that name; of an error, its name is the answer."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(commands, command.pop("do"))(**command)
        except Exception as exc:  # noqa: BLE001 - handed to the test
            answer = type(exc).__name__
        say(answer)
