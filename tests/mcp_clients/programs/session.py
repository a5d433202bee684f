"""A client that stays open from call to call: a line of JSON asks, a line of JSON responses."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.mcp_clients.client import CallFailed, Client
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs.dialogue import Dialogue


class Session(Client):
    """The program ends with its input; a sign-in restarts a dead one."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._dialogue = Dialogue()

    @abstractmethod
    def program(self) -> list[str | Path]:
        """Return the command of the program."""

    def sign_in(self) -> None:
        """Start or restart it; it connects at its first call."""
        self._dialogue.begin(self.program(), self.place.environment, ROOT, self.place.log)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        response = json.loads(
            self._dialogue.ask(json.dumps({"tool": tool, "arguments": arguments}))
        )
        if "error" in response:
            raise CallFailed(response["error"])
        return str(response["text"])

    def close(self) -> None:
        self._dialogue.end()
