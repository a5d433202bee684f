"""Messages name a page of the documentation by its address, or by its file while it has none."""

from pathlib import Path

import pytest

from tests.packaging.building import ENGINE, load_hooks
from tests.support.processes import output_of

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


FILES = ["settings.md in the documentation", '"To, or fro" of a.md in the documentation']


def test_page_is_its_file_while_no_site_is_known(tmp_path: Path) -> None:
    assert output_of(install(tmp_path, "") + SHOW).splitlines() == FILES


def test_page_is_its_file_where_nothing_is_installed() -> None:
    hidden = "import importlib.metadata as m\ndef metadata(name): raise m.PackageNotFoundError\n"
    assert output_of(f"{hidden}m.metadata = metadata\n{SHOW}").splitlines() == FILES
