"""Compiles the catalogs of translations: each `django.po` of a package gets its `django.mo`.

The build hooks do so for a distribution, `make` for a checkout: `python catalogs.py PACKAGE...`
"""

import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def compile_catalogs(package: Path) -> None:
    """Write the `.mo` files of a package, where they are not what they should be."""
    for source in sorted(package.glob("locale/*/LC_MESSAGES/django.po")):
        with source.open("rb") as file:
            catalog = read_po(file)
        # Otherwise the time of compiling: two builds of a wheel would differ.
        catalog.creation_date = catalog.revision_date = EPOCH
        compiled = io.BytesIO()
        write_mo(compiled, catalog)
        target = source.with_suffix(".mo")
        if not target.exists() or target.read_bytes() != compiled.getvalue():
            _replace(target, compiled.getvalue())


def _replace(target: Path, content: bytes) -> None:
    """Write a file that other processes may be reading."""
    new = target.with_suffix(f".{os.getpid()}")
    new.write_bytes(content)
    new.replace(target)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        compile_catalogs(Path(name))
