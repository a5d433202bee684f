"""Runs operator commands in the test's process, with their output and exit status."""

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command


@dataclass
class Run:
    """The output and the exit status of a command."""

    out: str
    err: str
    status: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*command: str) -> Run:
    """Run a command line; an error's message is the last line on stderr."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command(*command, stdout=out, stderr=err, no_color=True)
    except CommandError as exc:
        err.write(str(exc))
        # An argparse error exits with 2 on a command line, but has status 1 in the process.
        status = 2 if str(exc).startswith("Error: ") else exc.returncode
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    return Run(out.getvalue(), err.getvalue(), status)


def end(*arguments: str) -> Run:
    """Run `end_sessions` without confirmation."""
    return run("end_sessions", "--no-input", *arguments)
