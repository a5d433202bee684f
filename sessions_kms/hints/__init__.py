"""How messages name a management command: as the commands of this project are called.

It is `manage.py`, unless a program that has its own name for them says so before anything else of
this package is imported.
"""

PROGRAM = "manage.py"

_programs: list[str] = []


def use_program(name: str) -> None:
    """Set the name of the program that runs commands; only the first call counts."""
    _programs.append(name)


def command(line: str) -> str:
    """Return a command with the program's name in front, as it is typed: "manage.py migrate"."""
    return f"{_programs[0] if _programs else PROGRAM} {line}"
