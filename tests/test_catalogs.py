"""The catalogs of translations: as the code has its texts, and complete in German."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import freezegun
import pytest

from tests import ROOT
from tests.support.catalogs import PACKAGES, load_compiler, load_extractor

pytest.importorskip(
    "babel", reason="NO CATALOG WAS CHECKED: install babel, which requirements/dev.txt holds"
)
extractor = load_extractor()
LANGUAGES = extractor.list_languages()
CATALOGS = [(package, language) for package in PACKAGES for language in LANGUAGES]
# What a text is filled in with, and its elements and attributes: a translation has the same.
FILLED_IN = re.compile(r"%\([a-z_]+\)[sd]|%(?!%)[sd]|\{[a-z_]*\}")
MARKUP = re.compile(r"<[^>]*>")
WITHOUT_LANGUAGE = """
import django
from django.utils import translation
from django.utils.translation import trans_real
django.setup()
asked = []
for name in ("gettext", "ngettext", "pgettext", "npgettext"):
    original = getattr(trans_real, name)
    def spy(*args, original=original):
        asked.append(args)
        return original(*args)
    setattr(trans_real, name, spy)
    setattr(translation._trans, name, spy)
import gateway_site.urls, gateway_site.pages.apps, gateway_site.admin, sessions_kms.admin
import gateway_site.forwarding.asgi, oauth.clients.urls, sessions_kms.middleware
assert not asked, asked
from oauth.sign_in.click_delay import TOO_SOON
str(TOO_SOON)
assert asked, "the spy sees nothing"
"""


def key(message: Any) -> tuple[Any, Any]:
    return message.context, message.id


def texts(package: str, language: str) -> list[Any]:
    return [each for each in extractor.read_catalog(package, language) if each.id]


def variants(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else tuple(text)


def test_there_is_german() -> None:
    assert "de" in LANGUAGES
    assert sum(len(texts(package, "de")) for package in PACKAGES) > 300


@pytest.mark.slow
@pytest.mark.parametrize(("package", "language"), CATALOGS)
def test_catalog_has_exactly_the_texts_of_the_code(package: str, language: str) -> None:
    """`make messages` brings it up to date."""
    found = {key(each) for each in extractor.extract_messages(package) if each.id}
    assert found
    assert {key(each) for each in texts(package, language)} == found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_text_has_a_german_translation(package: str) -> None:
    catalog = texts(package, "de")
    assert [each.id for each in catalog if each.fuzzy] == []
    assert [each.id for each in catalog if not all(variants(each.string))] == []


@pytest.mark.parametrize(("package", "language"), CATALOGS)
def test_translation_has_the_placeholders_and_the_markup_of_its_text(
    package: str, language: str
) -> None:
    catalog = extractor.read_catalog(package, language)
    for message in texts(package, language):
        assert list(message.check(catalog)) == []
        # Of a plural only the last form must have all: one may say "an app".
        expected = variants(message.id)[-1]
        for number, text in enumerate(filter(None, variants(message.string))):
            found = Counter(FILLED_IN.findall(text))
            singular = Counter(FILLED_IN.findall(variants(message.id)[0]))
            is_singular = isinstance(message.id, tuple) and number == 0
            if not (is_singular and found == singular):
                assert found == Counter(FILLED_IN.findall(expected)), text
            assert Counter(MARKUP.findall(text)) == Counter(MARKUP.findall(expected)), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_same_text_has_the_same_translation_in_every_package(language: str) -> None:
    """Django merges the catalogs of all applications into one."""
    found: dict[Any, set[Any]] = {}
    for package in PACKAGES:
        for each in texts(package, language):
            found.setdefault(key(each), set()).add(each.string)
    assert [name for name, strings in found.items() if len(strings) > 1] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_german_is_formal_and_has_german_quotation_marks(package: str) -> None:
    for each in texts(package, "de"):
        for text in variants(each.string):
            assert not re.search(r"\b([Dd]u|[Dd]ir|[Dd]ich|[Dd]eine?[mnrs]?)\b", text), text
            assert not set(text) & set("”«»"), text
            assert text.count("„") == text.count("“"), text


@pytest.mark.slow
@pytest.mark.parametrize(("package", "language"), CATALOGS)
def test_updating_a_catalog_without_a_change_changes_nothing(package: str, language: str) -> None:
    stored = extractor.catalog_path(package, language).read_bytes()
    assert extractor.render_updated(package, language) == stored


def test_compiled_catalog_is_replaced_only_if_it_differs(tmp_path: Path) -> None:
    source = tmp_path / "locale/de/LC_MESSAGES/django.po"
    source.parent.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    source.write_text(header + 'msgid "Sign in"\nmsgstr "Anmelden"\n', encoding="utf-8")
    compiler = load_compiler()
    compiler.compile_catalogs(tmp_path)
    target = source.with_suffix(".mo")
    first = target.stat()
    assert b"Anmelden" in target.read_bytes()
    compiler.compile_catalogs(tmp_path)
    assert target.stat().st_ino == first.st_ino
    source.write_text(header + 'msgid "Sign in"\nmsgstr "Einloggen"\n', encoding="utf-8")
    compiler.compile_catalogs(tmp_path)
    assert b"Einloggen" in target.read_bytes()
    assert sorted(path.name for path in source.parent.iterdir()) == ["django.mo", "django.po"]


def test_compiled_catalog_does_not_tell_when_it_was_compiled(tmp_path: Path) -> None:
    """Two builds of a wheel are equal."""
    source = tmp_path / "locale/de/LC_MESSAGES/django.po"
    source.parent.mkdir(parents=True)
    source.write_bytes(extractor.catalog_path("oauth", "de").read_bytes())
    target = source.with_suffix(".mo")
    compiled = set()
    for day in ("2030-01-01", "2031-02-02"):
        target.unlink(missing_ok=True)
        with freezegun.freeze_time(day):
            load_compiler().compile_catalogs(tmp_path)
        compiled.add(target.read_bytes())
    assert len(compiled) == 1


@pytest.mark.slow
def test_no_text_is_translated_when_its_module_is_imported() -> None:
    """It would have the language of the request that imported the module first."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANGUAGE],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
