"""The languages of the pages: `LANGUAGES`, and catalogs of the operator's in `LOCALE_DIR`."""

from pathlib import Path

from django.conf.locale import LANG_INFO
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import to_locale

from gateway_site.environment.parsers import parse_items
from gateway_site.environment.variable import InvalidValue, list_parser

DEFAULT = ["en", "de"]
SOURCE = "en"  # the language of the texts in the code, which has no catalog
FOLDER = Path(__file__).parents[1] / "locale"


@list_parser
def parse_languages(text: str) -> list[str]:
    """Return the codes of languages that Django knows."""
    found = list(dict.fromkeys(each.lower() for each in parse_items(text)))
    if not found or not all("name_local" in LANG_INFO.get(each, {}) for each in found):
        raise InvalidValue("must be codes of languages separated by commas, such as en,de.")
    return found


def describe(codes: list[str], operators_folder: Path | None) -> list[tuple[str, str]]:
    """Return `LANGUAGES`: codes, and names in the language itself.

    Raises ImproperlyConfigured for a language without a catalog.
    """
    folders = [FOLDER, *([operators_folder] if operators_folder else [])]
    for code in codes:
        if code != SOURCE and not any((each / to_locale(code)).is_dir() for each in folders):
            raise ImproperlyConfigured(
                f"LANGUAGES: there is no catalog for {code}; put one into LOCALE_DIR."
            )
    return [(code, str(LANG_INFO[code]["name_local"])) for code in codes]
