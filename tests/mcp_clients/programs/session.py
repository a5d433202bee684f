"""A client that stays open from call to call: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import json
import subprocess
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any

from tests import ROOT
from tests.mcp_clients.client import PATIENCE, CallFailed, Client
from tests.mcp_clients.place import Place


class Session(Client):
    """Its program ends with its input; one that died is started anew by a sign-in."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._open = ExitStack()
        self._process: subprocess.Popen[str]

    @abstractmethod
    def program(self) -> list[str | Path]:
        """Return the command of the program."""

    def sign_in(self) -> None:
        """Start it, or start it anew; it connects at its first call."""
        self.close()
        log = self._open.enter_context(self.place.log.open("a", encoding="utf-8"))
        self._process = self._open.enter_context(
            subprocess.Popen(
                self.program(),
                env=self.place.environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        )
        self._open.callback(self._process.kill)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        asked = json.dumps({"tool": tool, "arguments": arguments})
        ending = Timer(PATIENCE, self._process.kill)
        ending.start()
        try:
            answer = json.loads(self._turn(asked))
        finally:
            ending.cancel()
        if "error" in answer:
            raise CallFailed(answer["error"])
        return str(answer["text"])

    def close(self) -> None:
        self._open.close()

    def _turn(self, line: str) -> str:
        """Ask, and return the answer. Raises CallFailed where the program has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise CallFailed("The program has ended.") from None
        answer = self._process.stdout.readline()
        if not answer:
            raise CallFailed("The program has ended, or does not answer.")
        return answer
