"""Updates the catalogs of translations from the texts in the code: `make messages`.

`python packaging/messages.py [LANGUAGE...]` also starts the catalogs of new languages. New texts
get an empty translation, and a text that has changed is a new one: nothing is guessed.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract, extract_python
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation import template

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("gateway_site", "oauth", "sessions_kms")
# The local provider is for development, and is in English.
LEFT_OUT = ROOT / "gateway_site" / "local"
# So are errors that no page shows.
FOR_PROGRAMS = {
    ROOT / "oauth/clients" / name
    for name in (
        "endpoints/api.py",
        "endpoints/discovery.py",
        "endpoints/tokens.py",
        "rules/registration.py",
    )
}
CONTEXT = (1, "c")
KEYWORDS: dict[str, Any] = {
    **DEFAULT_KEYWORDS,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": (CONTEXT, 2),
    "npgettext_lazy": (CONTEXT, 2, 3),
    # Errors for programs are in English; a page that shows one translates its sentence.
    "translatable": None,
    "RequestRejected": (2,),
    "UnknownClient": (1,),
    "DocumentMissing": (1,),
    "DocumentUnavailable": (1,),
}
WIDTH = 100


def extract_messages(package: str) -> Catalog:
    """Return the texts of a package, without translations."""
    catalog = Catalog(domain="django", charset="utf-8")
    for path in sorted((ROOT / package).rglob("*")):
        if path.suffix not in {".py", ".html", ".txt"} or path.is_relative_to(LEFT_OUT):
            continue
        if path in FOR_PROGRAMS:
            continue
        for message, context in _extract(path):
            where = (path.relative_to(ROOT).as_posix(), None)
            catalog.add(message, locations=[where], context=context)
    return catalog


def _extract(path: Path) -> Iterator[tuple[Any, Any]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        if not settings.configured:
            settings.configure()
        code = template.templatize(text)
        # Python for xgettext, but with the template's indentation.
        text = "\n".join(line.strip() for line in code.splitlines())
    for _, message, _, context in extract(
        extract_python, io.BytesIO(text.encode()), KEYWORDS, options={"encoding": "utf-8"}
    ):
        yield message, context


def catalog_path(package: str, language: str) -> Path:
    """Return where the catalog of a language is."""
    return ROOT / package / "locale" / language / "LC_MESSAGES" / "django.po"


def read_catalog(package: str, language: str) -> Catalog:
    """Return a catalog with its translations; an empty one if there is none."""
    path = catalog_path(package, language)
    if not path.exists():
        return Catalog(locale=language, domain="django", charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=language, domain="django")


def render_updated(package: str, language: str) -> bytes:
    """Return the catalog of a language with the texts that the package has now."""
    catalog = read_catalog(package, language)
    found = extract_messages(package)
    catalog.update(found, no_fuzzy_matching=True, update_header_comment=False)
    catalog.obsolete.clear()
    written = io.BytesIO()
    write_po(written, catalog, width=WIDTH, omit_header=True, include_lineno=False)
    return _render_header(catalog) + written.getvalue()


def _render_header(catalog: Catalog) -> bytes:
    """Return the fields that programs read; dates would change with every run."""
    fields = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
        "Language": str(catalog.locale_identifier),
        "Plural-Forms": catalog.plural_forms,
    }
    lines = "".join(f'"{name}: {value}\\n"\n' for name, value in fields.items())
    return f'msgid ""\nmsgstr ""\n{lines}\n'.encode()


def list_languages() -> list[str]:
    """Return the languages that have a catalog."""
    return sorted(path.name for path in (ROOT / PACKAGES[0] / "locale").iterdir())


def main(new: list[str]) -> None:
    """Update the catalogs of all languages, and start those of new ones."""
    for language in sorted({*list_languages(), *new}):
        for package in PACKAGES:
            updated = render_updated(package, language)
            path = catalog_path(package, language)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(updated)


if __name__ == "__main__":
    main(sys.argv[1:])
