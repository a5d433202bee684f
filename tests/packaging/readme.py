"""The commands and settings in the README of the engine."""

import re
import shlex

from tests import ROOT

README = ROOT / "README.md"
HEADING = "## The engine, in five lines of settings"


def section() -> str:
    _, _, after = README.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")
    return after.partition("\n## ")[0]


def requirement() -> str:
    """Return what `pip install` is given."""
    return _find(r"^pip install (\S+)$")


def settings() -> list[str]:
    """Return the lines that are added to the settings."""
    return _find(r"```python\n(.*?)```").splitlines()


def commands() -> list[list[str]]:
    """Return the commands of `manage.py` in the order in which they are named."""
    return [shlex.split(each) for each in re.findall(r"`manage\.py (.+?)`", section())]


def _find(pattern: str) -> str:
    found = re.search(pattern, section(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"The README has nothing like {pattern!r}."
    return found[1]
