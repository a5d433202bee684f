"""The two distributions: their contents, metadata and requirements."""

import email
import re
import shlex
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from gateway_site.variables import is_known
from tests import ROOT
from tests.packaging import readme
from tests.packaging.building import (
    ENGINE,
    GATEWAY,
    PACKAGES,
    SOURCES,
    build_sdist,
    build_wheel,
    list_files,
    load_hooks,
    load_project,
    unpack,
)

pytestmark = pytest.mark.slow

REASON = "NO PACKAGE WAS BUILT: install hatchling and babel, which requirements/dev.txt holds"
pytest.importorskip("hatchling", reason=REASON)
pytest.importorskip("babel", reason=REASON)
NAME = re.compile(r"[A-Za-z0-9._-]+")
PINNED = re.compile(r"^([a-z0-9-]+)(?:\[[^]]*\])?==", re.MULTILINE)
OTHER_PARSERS = {"serve", "runlocal"}  # Theirs are not Django's.
REPOSITORY = "https://repository.example/gateway"


class Built:
    """A distribution's sdist, the wheel of the tree and the wheel of that sdist."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.sdist = build_sdist(SOURCES[name], folder)
        self.from_tree = build_wheel(SOURCES[name], folder)
        self.wheel = build_wheel(unpack(self.sdist, folder / "unpacked"), folder / "again")

    @property
    def files(self) -> set[str]:
        """The files of the wheel, without those that say what it is."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if ".dist-info/" not in name}

    @property
    def source_files(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    @property
    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (path,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(archive.read(path))


@pytest.fixture(scope="module", params=[ENGINE, GATEWAY])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(request.param, tmp_path_factory.mktemp("built"))


@pytest.mark.slow
def test_wheel_of_the_sdist_is_the_wheel_of_the_tree(built: Built) -> None:
    assert built.wheel.name == built.from_tree.name
    assert built.wheel.read_bytes() == built.from_tree.read_bytes()


def test_wheel_holds_every_file_of_its_packages_and_no_other(built: Built) -> None:
    assert built.files == set().union(*map(list_files, PACKAGES[built.name]))


@pytest.mark.slow
def test_wheel_has_types_catalogs_templates_static_files_and_the_local_provider(
    built: Built,
) -> None:
    expected = {
        ENGINE: {
            "sessions_kms/py.typed",
            "sessions_kms/management/commands/end_sessions.py",
            "sessions_kms/infrastructure/stack.yaml",
            "sessions_kms/infrastructure/main.tf",
            "sessions_kms/locale/de/LC_MESSAGES/django.mo",
        },
        GATEWAY: {
            "oauth/py.typed",
            "oauth/locale/de/LC_MESSAGES/django.mo",
            "oauth/migrations/0001_initial.py",
            "oauth/static/oauth/click_delay.js",
            "oauth/templates/oauth/clients/consent.html",
            "gateway_site/locale/de/LC_MESSAGES/django.mo",
            "gateway_site/static/gateway.css",
            "gateway_site/templates/home.html",
            "gateway_site/local/provider/templates/account/login.html",
        },
    }
    assert expected[built.name] <= built.files


def test_sdist_contains_the_sources_of_its_wheel_only(built: Built) -> None:
    names = built.source_files
    assert {each.removeprefix("sessions_kms/") for each in built.files if "/docs/" in each} <= names
    assert {each for each in built.files if "/docs/" not in each} <= names
    assert {"pyproject.toml", "LICENSE", "README.md"} <= names
    top = {name.partition("/")[0] for name in names}
    others = {package for name in PACKAGES if name != built.name for package in PACKAGES[name]}
    assert top & {*others, "tests", "requirements", ".local", ".env"} == set()
    if built.name == ENGINE:
        assert {"CHANGELOG.md", "docs/format.md"} <= names


def test_metadata_has_the_licence_and_no_address(built: Built) -> None:
    assert built.metadata["License-Expression"] == "MIT"
    assert built.metadata["License-File"] == "LICENSE"
    assert built.metadata["Author"] == "The django-sessions-kms contributors"
    with zipfile.ZipFile(built.wheel) as archive:
        (path,) = (each for each in archive.namelist() if each.endswith("/licenses/LICENSE"))
        assert archive.read(path) == (ROOT / "LICENSE").read_bytes()
    release = load_hooks().load_release()
    if not (release.get("repository") or release.get("site")):
        assert built.metadata["Project-URL"] is None
        assert built.metadata["Home-page"] is None
    assert built.metadata["Dynamic"] is None


def test_readme_of_the_metadata_has_no_relative_link(built: Built) -> None:
    text = str(built.metadata.get_payload())
    assert f"# {built.name}" in text
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []
    named = f"pip install '?{built.name}"
    assert re.search(named, text)


@pytest.mark.parametrize("name", [ENGINE, GATEWAY])
def test_readme_leads_to_the_repository_that_is_named(name: str) -> None:
    hooks = load_hooks()
    settings = load_project(name)["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    folder = settings.get("folder", "packaging")
    text = (SOURCES[name] / settings["readme"]).read_text(encoding="utf-8")
    found = hooks.rewrite_links(text, folder, REPOSITORY, "1.0")
    paths = re.findall(rf"\]\({REPOSITORY}/(?:blob|raw)/v1\.0/([^)]+)\)", found)
    assert "docs/settings.md" in paths
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    assert found.count("](") == len(paths)
    assert hooks.build_urls(REPOSITORY, "", "1.0")["Source"] == REPOSITORY
    assert hooks.build_urls("", "", "1.0") == {}


def test_readme_of_the_engine_has_the_settings_and_commands_of_the_repositorys() -> None:
    text = (ROOT / "packaging/README.md").read_text(encoding="utf-8")
    assert "\n".join(readme.settings()) in text
    for command in readme.commands():
        assert f"`python manage.py {' '.join(command)}`" in text


@pytest.mark.parametrize("path", ["packaging/README.md", "packaging/gateway/README.md"])
def test_commands_of_the_readmes_have_the_options_that_they_need(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    commands = re.findall(r"(?:python manage\.py|kms-gateway) ([a-z_]+[^`\n]*)", text)
    assert len(commands) > 3
    for name, *options in map(shlex.split, commands):
        if name not in OTHER_PARSERS:
            parser = load_command_class(get_commands()[name], name).create_parser("", name)
            parser.parse_args(options)  # It exits if one is missing or unknown.


def test_readme_of_the_gateway_names_variables_and_commands_that_exist() -> None:
    text = (ROOT / "packaging/gateway/README.md").read_text(encoding="utf-8")
    variables = re.findall(r"\b([A-Z][A-Z0-9_]+)=", text)
    commands = re.findall(r"kms-gateway (\w+)", text)
    assert "DATABASE_URL" in variables
    assert [name for name in variables if not (is_known(name) or name == "AWS_REGION")] == []
    assert {"runlocal", "serve"} <= set(commands) <= set(get_commands())


def test_both_have_one_version_and_the_gateway_requires_exactly_this_engine() -> None:
    engine, gateway = (load_project(name)["project"] for name in (ENGINE, GATEWAY))
    version = engine["version"]
    assert gateway["version"] == version
    assert gateway["requires-python"] == engine["requires-python"]
    assert gateway["dependencies"][0] == f"{ENGINE}=={version}"
    assert gateway["optional-dependencies"]["otel"][0] == f"{ENGINE}[otel]=={version}"
    python = {each for each in engine["classifiers"] if "Python ::" in each or "Django ::" in each}
    assert python <= set(gateway["classifiers"])


def test_gateway_requires_the_pinned_versions() -> None:
    groups = load_project(ENGINE)["dependency-groups"]
    gateway = load_project(GATEWAY)["project"]
    assert gateway["dependencies"][1:] == groups["gateway"]
    local = [each for each in groups["local"] if isinstance(each, str)]
    assert gateway["optional-dependencies"]["local"] == local
    assert gateway["optional-dependencies"]["otel"][1:] == groups["otel"]


@pytest.mark.parametrize("group", ["gateway", "local"])
def test_every_dependency_is_pinned_by_hash(group: str) -> None:
    pinned = PINNED.findall((ROOT / f"requirements/{group}.txt").read_text(encoding="utf-8"))
    engine, gateway = (load_project(name)["project"] for name in (ENGINE, GATEWAY))
    required = [*engine["dependencies"], *gateway["dependencies"][1:]]
    if group == "local":
        required += gateway["optional-dependencies"]["local"]
    names = {match[0].lower() for each in required if (match := NAME.match(each))}
    assert names - set(pinned) == set()
