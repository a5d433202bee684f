"""A language that nobody speaks: every text in Hebrew letters, and 40 % longer.

Pages in it show whether they fit: German is longer than English by about as much, and Arabic and
Hebrew are written from right to left. What a text is filled in with and its markup stay.
"""

from __future__ import annotations

import io
import re
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from tests.support.catalogs import PACKAGES, load_extractor

CODE = "he"
GROWTH = 1.4
KEPT = re.compile(r"(<[^>]*>|%\([a-z_]+\)[sd]|\{[a-z_]*\}|&[a-z]+;)")
WORD = re.compile(r"[A-Za-z]+")
LETTERS = [chr(each) for each in range(ord("א"), ord("ת") + 1)]
DATE = "date and time"  # the beginning of a context: that text is a format


def write_catalog(folder: Path) -> None:
    """Write the compiled catalog into a folder for `LOCALE_DIR`."""
    from babel.messages.catalog import Catalog
    from babel.messages.mofile import write_mo

    catalog = Catalog(locale=CODE)
    for package in PACKAGES:
        for message in load_extractor().extract_messages(package):
            if message.id and not (message.context or "").startswith(DATE):
                texts = translate_each(message.id, catalog.num_plurals)
                catalog.add(message.id, texts, context=message.context)
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    target = folder / CODE / "LC_MESSAGES" / "django.mo"
    target.parent.mkdir(parents=True)
    target.write_bytes(compiled.getvalue())


def translate_each(text: Any, number: int) -> Any:
    """Return a text in the language; of a plural, as many forms as the language has."""
    if isinstance(text, str):
        return translate(text)
    return tuple(translate(text[min(each, 1)]) for each in range(number))


def translate(text: str) -> str:
    """Return one text."""
    parts = KEPT.split(text)
    return "".join(
        part if KEPT.fullmatch(part) else WORD.sub(_lengthen, part) for part in parts if part
    )


def _lengthen(word: re.Match[str]) -> str:
    return "".join(islice(cycle(LETTERS), round(len(word[0]) * GROWTH)))
