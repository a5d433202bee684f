"""Processes that are killed: a warm process forks a child for each operation, and waits for it.

The child prints its process id first, so that the proxy that handles its calls can kill it.
"""

import json
import os
import queue
import signal
import sys
from dataclasses import asdict
from typing import Any

from tests.sessions_kms.support.faults import Dropped, Exchange, Fault, Response
from tests.sessions_kms.support.operations import OPERATIONS, Scene
from tests.sessions_kms.support.worker import ENVIRONMENT, set_up
from tests.support.talking_process import TalkingProcess, say


class Mortals(TalkingProcess):
    """The test's handle: runs each operation in a separate child process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._pids: queue.Queue[int] = queue.Queue()
        super().__init__("tests.sessions_kms.support.mortal", {ENVIRONMENT: json.dumps(settings)})

    def run(self, operation: str, scene: Scene) -> tuple[str, Scene]:
        """Run an operation in a child; return its result and the scene reported last."""
        self.tell(operation, scene=asdict(scene))
        self._pids.put(self.read_result())
        told = self.read_result()
        return told["result"], Scene(**told["scene"])

    def kill_child(self) -> None:
        """Kill the current child (kill -9)."""
        os.kill(self._pids.get(timeout=10), signal.SIGKILL)

    def spare(self) -> None:
        """Forget the current child without killing it."""
        while not self._pids.empty():
            self._pids.get()


def kill_at(mortals: Mortals, *, applied: bool) -> Fault:
    """Kill the child that made this call, before or after the service has handled it."""

    def fault(exchange: Exchange) -> Response:
        if applied:
            exchange.forward()
        mortals.kill_child()
        raise Dropped

    return fault


def act(operation: str, scene: Scene) -> None:
    """Run an operation as a child, and report it."""
    say(os.getpid())
    try:
        OPERATIONS[operation][0](scene)
        result = "ok"
    except Exception as exc:  # noqa: BLE001 - handed to the test
        result = type(exc).__name__
    say({"result": result, "scene": asdict(scene)})


def main() -> None:
    import boto3  # noqa: F401 - so that no child has to

    set_up()
    for line in sys.stdin:
        command = json.loads(line)
        scene = Scene(**command["scene"])
        if (child := os.fork()) == 0:
            act(command["do"], scene)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            say({"result": "killed", "scene": asdict(scene)})


if __name__ == "__main__":
    main()
