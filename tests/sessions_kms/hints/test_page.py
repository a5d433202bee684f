"""Messages name a page of the documentation by its address, or by the command that prints it."""

import ast
import os
import re
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from sessions_kms.hints import pages
from tests import ROOT
from tests.packaging.building import ENGINE, load_hooks
from tests.support.processes import output_of, run_to_end

PACKAGES = ("gateway_site", "oauth", "sessions_kms")
SITE = "https://docs.example/en"
SHOW = (
    "from sessions_kms.hints import page; print(page('settings')); print(page('a', 'To, or fro'))"
)


def install(folder: Path, site: str) -> str:
    """Return code that sees an installed distribution with the metadata that a build gives it."""
    urls = load_hooks().build_urls("https://code.example", site, "1.0")
    metadata = folder / "django_sessions_kms-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    lines = [f"Project-URL: {label}, {url}" for label, url in urls.items()]
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {ENGINE}", "Version: 1.0", *lines])
    metadata.write_text(text + "\n", encoding="utf-8")
    return f"import sys; sys.path.insert(0, {str(folder)!r}); "


@pytest.mark.parametrize("site", [SITE, f"{SITE}/"])
def test_page_is_its_address_if_the_installed_distribution_names_the_site(
    site: str, tmp_path: Path
) -> None:
    assert output_of(install(tmp_path, site) + SHOW).splitlines() == [
        f"{SITE}/settings.html",
        f"{SITE}/a.html#to-or-fro",
    ]


COMMANDS = ["`manage.py docs settings`", "`manage.py docs a to-or-fro`"]


def test_page_is_the_command_that_prints_it_while_no_site_is_known(tmp_path: Path) -> None:
    assert output_of(install(tmp_path, "") + SHOW).splitlines() == COMMANDS


def test_page_is_the_command_where_nothing_is_installed() -> None:
    hidden = "import importlib.metadata as m\ndef metadata(name): raise m.PackageNotFoundError\n"
    assert output_of(f"{hidden}m.metadata = metadata\n{SHOW}").splitlines() == COMMANDS


def test_every_page_and_heading_that_messages_name_can_be_printed() -> None:
    named = set[tuple[str, ...]]()
    for path in (each for name in PACKAGES for each in (ROOT / name).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "page":
                named.add(tuple(map(ast.literal_eval, call.args)))
    assert len(named) > 8
    for name, *headings in named:
        for heading in headings:
            text = pages.read_section(name, pages.to_anchor(heading))
            assert re.match(rf"#+ {re.escape(heading)}\n", text, re.IGNORECASE)
        assert pages.read_page(name)


def test_section_ends_before_the_next_one_and_code_has_no_headings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "# A\n## B c\n```\n# no heading\n```\n### Below\n## D\nend\n"
    (tmp_path / "a.md").write_text(text)
    monkeypatch.setattr(pages, "CHECKOUT", tmp_path / "site-packages" / "docs")
    monkeypatch.setattr(pages, "INSTALLED", tmp_path)
    assert pages.list_sections("a") == ["a", "b-c", "below", "d"]
    assert pages.read_section("a", "b-c") == "## B c\n```\n# no heading\n```\n### Below\n"
    assert pages.read_section("a", "d") == "## D\nend\n"
    assert pages.read_section("a", "a") == text
    (tmp_path / "a.md").unlink()
    assert pages.list_pages() == {}
    with pytest.raises(CommandError, match="no pages"):
        call_command("docs", "settings")


@pytest.mark.slow
def test_docs_prints_a_page_although_the_settings_have_a_fault() -> None:
    env = {"PATH": os.environ["PATH"], "PUBLIC_URL": "no address"}
    docs = [sys.executable, "-m", "gateway_site", "docs"]
    assert run_to_end([*docs, "settings"], env).stdout == pages.read_page("settings")
    assert "\nguides/rotate " in run_to_end(docs, env).stdout
    for arguments, line in (
        (["setings"], "UsageError: There is no page setings. Did you mean settings?\n"),
        (["../README"], "UsageError: There is no page ../README."),
        (["policy", "x"], "UsageError: policy has no section x."),
    ):
        done = run_to_end([*docs, *arguments], env)
        assert done.returncode == 2
        assert done.stderr.startswith(line)
        assert done.stdout == ""
