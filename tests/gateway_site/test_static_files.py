"""Static files in production: hashed, compressed, served by the ASGI application."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_django import Settings

from gateway_site.edge.static_files import HashedStaticFilesStorage
from tests import ROOT
from tests.deploy_check import PRODUCTION
from tests.support.processes import run_to_end

PROGRAM = """
import asyncio, django, sys
django.setup()
from django.core.management import call_command
if sys.argv[1] == "collected":
    call_command("collectstatic", interactive=False, verbosity=0)
call_command("migrate", verbosity=0)
from gateway_site.asgi import application
from django.templatetags.static import static

async def get(path, scheme="https"):
    sent, asked = [], [{"type": "http.request", "body": b"", "more_body": False}]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
             "root_path": "", "scheme": scheme, "query_string": b"", "http_version": "1.1",
             "headers": [(b"host", b"gateway.example.com"), (b"x-forwarded-proto", b"https")],
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "asgi": {"version": "3.0"}}
    async def receive():
        return asked.pop() if asked else await asyncio.Event().wait()
    async def send(message):
        sent.append(message)
    await application(scope, receive, send)
    return sent[0]["status"], {k.lower().decode(): v.decode() for k, v in sent[0]["headers"]}

address = static("gateway.css")
print(address)
print(*asyncio.run(get(address)), sep="\\n")
print(asyncio.run(get("/accounts/login/"))[0])
print(asyncio.run(get("/static/../settings.py"))[0])
import resource
with asyncio.Runner() as runner:
    runner.run(asyncio.sleep(0))  # so that it has what it needs to run
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(*runner.run(get(address)), sep="\\n")
"""


def serve(root: Path, state: str, **variables: str) -> list[str]:
    environment = PRODUCTION | {
        "DJANGO_SETTINGS_MODULE": "gateway_site.settings",
        "DATABASE_URL": f"sqlite:///{root.parent / 'db.sqlite3'}",
        "PATH": os.environ.get("PATH", ""),
    }
    done = run_to_end(
        [sys.executable, "-W", "error", "-c", PROGRAM, state], environment | variables
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@dataclass(frozen=True)
class Collected:
    """Where the files of a site were collected, and what it answered then."""

    root: Path
    printed: list[str]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Collected:
    root = tmp_path_factory.mktemp("site") / "static"
    return Collected(root, serve(root, "collected", STATIC_ROOT=str(root)))


@pytest.mark.slow
def test_collected_files_are_served_under_their_hash(collected: Collected) -> None:
    address, status, headers, page, outside, *_ = collected.printed
    assert re.fullmatch(r"/static/gateway\.[0-9a-f]{12}\.css", address)
    assert status == "200"
    assert "immutable" in headers
    assert "'x-content-type-options': 'nosniff'" in headers
    assert "access-control-allow-origin" not in headers
    assert (page, outside) == ("200", "404")
    assert list(collected.root.glob("gateway.*.css.gz"))


@pytest.mark.slow
def test_file_that_no_descriptor_is_left_for_is_a_503(collected: Collected) -> None:
    *_, status, headers = collected.printed
    assert status == "503"
    assert "'retry-after': '5'" in headers
    assert "immutable" not in headers


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["not named", "missing", "empty"])
def test_packages_files_are_served_before_any_are_collected(
    collected: Collected, tmp_path: Path, folder: str
) -> None:
    root = tmp_path / "static"
    if folder == "empty":
        root.mkdir()
    migrated = {"DATABASE_URL": f"sqlite:///{collected.root.parent / 'db.sqlite3'}"}
    variables = migrated | ({} if folder == "not named" else {"STATIC_ROOT": str(root)})
    address, status, headers, page, outside, *_ = serve(root, "missing", **variables)
    assert (address, status, page) == ("/static/gateway.css", "200", "200")
    assert "'content-type': 'text/css" in headers
    assert "immutable" not in headers
    assert "'x-content-type-options': 'nosniff'" in headers
    assert outside == "404"


def test_unknown_file_keeps_its_name(settings: Settings, tmp_path: Path) -> None:
    storage = HashedStaticFilesStorage(location=tmp_path, base_url="/static/")
    assert storage.url("nothing.css") == "/static/nothing.css"


def test_manifest_is_the_same_for_the_same_files_at_another_time(
    settings: Settings, tmp_path: Path
) -> None:
    manifests: list[bytes] = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / "a.css").write_text("a {}", encoding="utf-8")
        os.utime(folder / "a.css", (len(manifests), len(manifests)))
        settings.STATIC_ROOT = folder
        storage = HashedStaticFilesStorage(location=folder, base_url="/static/")
        list(storage.post_process({"a.css": (storage, "a.css")}))
        manifests.append((folder / "staticfiles.json").read_bytes())
    assert manifests[0] == manifests[1]
    assert b"a.css" in manifests[0]


def test_only_script_of_the_pages_is_a_file_of_ours_that_they_wait_for_in_nothing() -> None:
    templates = (ROOT / "gateway_site" / "templates").rglob("*.html")
    text = re.compile(r''' data-[a-z-]+="{% translate "[^"]*" %}"''')  # that the script shows
    scripts = [
        (page.name, text.sub("", script))
        for page in templates
        for script in re.findall("<script.*?</script>", page.read_text(), re.DOTALL)
    ]
    assert scripts == [
        ("skeleton.html", """<script src="{% static 'gateway.js' %}" defer></script>""")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme: str) -> None:
    sheet = (ROOT / "gateway_site" / "static" / "gateway.css").read_text()
    both = re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", sheet)
    colours = {name: dark if scheme == "dark" else light for name, light, dark in both}
    pairs = [
        (front, back)
        for front in ("text", "muted", "accent", "accent-strong", "good", "bad")
        for back in ("page", "surface")
    ]
    pairs += [("on-accent", "accent"), ("on-accent", "accent-strong"), ("text", "note")]
    for front, back in pairs:
        assert contrast(colours[front], colours[back]) >= 4.5, (front, back)


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, 1.4.3)."""
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
