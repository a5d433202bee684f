"""Is this tree what a tag says, and may it be released? Also prints the notes of a release.

python packaging/release.py v1.0.0          # one sentence for each thing that is missing
python packaging/release.py v1.0.0 --notes  # the section of the CHANGELOG
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIELDS = Path("packaging/release.toml")
PROJECTS = (Path("pyproject.toml"), Path("packaging/gateway/pyproject.toml"))
CHANGELOG = Path("CHANGELOG.md")


def problems(root: Path, tag: str) -> Iterator[str]:
    """Yield a sentence for each reason why this tree cannot be released under a tag."""
    empty = [name for name, value in _toml(root / FIELDS).items() if not value]
    if empty:
        yield f"Fill in {_list(empty)} in {FIELDS}."
    for path in PROJECTS:
        version = _toml(root / path)["project"]["version"]
        if tag != f"v{version}":
            yield f"{path} has version {version}, and the tag is {tag}."
    if not notes(root, tag):
        yield f"{CHANGELOG} has no section “## {tag.removeprefix('v')}”."


def notes(root: Path, tag: str) -> str:
    """Return the section of the CHANGELOG for a tag, or nothing."""
    text = (root / CHANGELOG).read_text(encoding="utf-8")
    heading = rf"^## {re.escape(tag.removeprefix('v'))}\b[^\n]*\n"
    found = re.search(heading + r"(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _list(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag")
    parser.add_argument("--notes", action="store_true", help="print the notes of this release")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.notes:
        print(notes(options.root, options.tag))
        return 0
    found = list(problems(options.root, options.tag))
    for each in found:
        print(each, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
