"""The environment of one client: a home directory, and a browser run by another process.

An address of the gateway enters; what leaves is an environment for the client's processes, and the
addresses that it wanted to be opened in a browser. Knows no client and no person.
"""

import os
import shlex
from pathlib import Path

# Whatever a program calls to open a browser: the variable BROWSER names it as well.
NAMES = ("browser", "xdg-open", "open", "sensible-browser", "www-browser")
SCRIPT = """#!/bin/sh
# Hands an address over to the person, whole at once.
set -eu
draft=$(mktemp {drafts}/XXXXXXXX)
printf '%s' "$1" > "$draft"
mv "$draft" {asked}/"$(date +%s%N).$$"
"""


class Place:
    """One client's home; nothing of it is shared with another one's."""

    def __init__(self, folder: Path, url: str) -> None:
        """Take a new folder, and the address of the MCP server that the client is pointed at."""
        self.folder = folder
        self.url = url
        self.home = folder / "home"
        self.asked_folder = folder / "asked"
        self.programs = folder / "bin"
        drafts = folder / "drafts"
        for each in (self.home, self.asked_folder, self.programs, drafts):
            each.mkdir(parents=True)
        script = SCRIPT.format(
            drafts=shlex.quote(str(drafts)), asked=shlex.quote(str(self.asked_folder))
        )
        for name in NAMES:
            (self.programs / name).write_text(script, encoding="utf-8")
            (self.programs / name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the client sees of the world: its home, and this browser first."""
        return {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
            "BROWSER": str(self.programs / "browser"),
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    @property
    def log(self) -> Path:
        """Where a client says what it says."""
        return self.folder / "said.log"

    @property
    def times_asked(self) -> int:
        """How often a browser was asked for, from the beginning."""
        return len(list(self.asked_folder.iterdir()))
