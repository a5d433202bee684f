"""Write the vectors again, byte for byte the same: ``python -m tests.vectors.generate``."""

from pathlib import Path

from tests.vectors import (
    accounts,
    altered,
    misread,
    moves,
    opening,
    others,
    sessions,
    shared,
    telling,
    wrong,
)
from tests.vectors.case import Case

FOLDER = Path(__file__).parent


def cases() -> dict[str, Case]:
    """Return all vectors by name."""
    made = (sessions, altered, wrong, misread, moves)
    named = [each for module in made for each in module.cases()]
    found = dict(named)
    if len(found) != len(named):
        raise ValueError("Two vectors have one name.")
    return found


def files() -> dict[str, str]:
    """Return the content of each file by its name."""
    told = {f"{telling.FOLDER}/{name}.json": each.to_text() for name, each in telling.cases()}
    told |= {f"{opening.FOLDER}/{name}.json": each.to_text() for name, each in opening.cases()}
    told |= {f"{shared.FOLDER}/{name}.json": each.to_text() for name, each in shared.cases()}
    told |= {f"{path}.json": each.to_text() for path, each in others.cases()}
    told |= {f"{path}.json": each.to_text() for path, each in accounts.cases()}
    return told | {f"{name}.json": case.to_text() for name, case in cases().items()}


def main() -> None:
    for stale in FOLDER.rglob("*.json"):
        stale.unlink()
    for name, text in files().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text, encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
