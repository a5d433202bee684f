"""docs/spa.md: its size, and its paths, which are those of the URL configuration.

`tests/e2e/test_browser_app.py` runs its files.
"""

import re
from collections.abc import Iterable, Iterator

import pytest
from django.conf import settings
from django.urls import URLPattern, URLResolver

import gateway_site.urls
import oauth.clients.urls
import oauth.mcp.urls
from gateway_site.pages import apps
from tests import ROOT
from tests.guides.page import NewFile, read_steps

PAGE = (ROOT / "docs/spa.md").read_text(encoding="utf-8")
FILES = {each.path: each.text for each in read_steps(PAGE) if isinstance(each, NewFile)}
CONFIGURATIONS = ("/etc/nginx/nginx.conf", "/etc/caddy/Caddyfile", "vite.config.js")


def routes(patterns: Iterable[URLPattern | URLResolver], before: str = "") -> Iterator[str]:
    for each in patterns:
        route = before + str(each.pattern)
        if isinstance(each, URLResolver) and "/" not in route:
            yield from routes(each.url_patterns, route)
        else:
            yield route


def configured_paths() -> set[str]:
    """Return the first part of each address, with a slash if something may follow."""
    patterns = [
        *gateway_site.urls.urlpatterns,
        *(each for part in (apps, oauth.clients.urls, oauth.mcp.urls) for each in part.urlpatterns),
    ]
    found = {re.match(r"[^/]*/?", route) for route in routes(patterns)}
    return {f"/{match[0]}" for match in found if match} - {"/"} | {settings.STATIC_URL}


def documented_paths() -> set[str]:
    table = PAGE.partition("## The gateway's paths")[2].partition("##")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {path for cell in cells for path in re.findall("`([^`]+)`", cell)}


def expression_in(path: str) -> str:
    [found] = re.findall(r"\^/\(.*(?<=\$\))", FILES[path])
    return str(found).replace(r"\\", "\\")


def test_page_and_wrapper_are_short() -> None:
    assert len(PAGE.split()) <= 1200
    assert len(FILES["src/gateway.js"].splitlines()) <= 60


def test_table_has_the_paths_of_the_url_configuration() -> None:
    assert documented_paths() == configured_paths()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration_passes_exactly_these_paths_on(name: str) -> None:
    expression = re.compile(expression_in(name))
    for path in documented_paths():
        assert expression.search(path)
        assert expression.search(path.rstrip("/"))
        assert expression.search(path + "x") if path.endswith("/") else True
        assert not expression.search(path.rstrip("/") + "x")
        assert not expression.search("/app" + path)
    [words] = re.findall(r"/\(([^)]*)\)", expression.pattern)
    assert {word.replace("\\", "") for word in words.split("|")} == {
        path.strip("/") for path in documented_paths()
    }
    assert not any(map(expression.search, ("/", "/assets/index.js", "/index.html")))
