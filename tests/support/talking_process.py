"""A process that runs commands: JSON commands on stdin, one JSON result per line on stdout.

Several processes with a command at the same time race. `TalkingProcess` is the test's handle;
`say` and `obey` are for the process itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, Self, cast

from tests.support import warm_python
from tests.support.processes import module


class TalkingProcess:
    """The test's handle of one such process, which is killed at the end of the block."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        """Run the module of that name, with these variables in addition to those of the test."""
        self._process = warm_python.Popen(
            module(name),
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:
            pass

    def tell(self, do: str, **arguments: Any) -> None:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        stdin.flush()

    def read_result(self) -> Any:
        """Wait for the result of the last command."""
        line = cast("IO[str]", self._process.stdout).readline()
        assert line, "the process died"
        return json.loads(line)

    def ask(self, do: str, **arguments: Any) -> Any:
        self.tell(do, **arguments)
        return self.read_result()

    def kill(self) -> None:
        """Kill it without cleanup (kill -9)."""
        self._process.kill()
        self._process.wait()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None


def say(what: Any) -> None:
    """Print a result."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def obey(commands: object) -> None:
    """Run the commands from stdin by methods of the same names; an error's result is its name."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            response = getattr(commands, command.pop("do"))(**command)
        except Exception as exc:  # noqa: BLE001 - handed to the test
            response = type(exc).__name__
        say(response)
