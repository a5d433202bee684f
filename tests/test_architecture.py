"""Who may import whom, and how large files and folders are, read from the source."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sessions_kms", "oauth", "gateway_site")
MAX_LINES = 500
MAX_MODULES = 15  # of a folder, beside its __init__


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_are_in_the_declared_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))  # it puts this folder there
    exit_status = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True)
    assert exit_status == 0, capsys.readouterr().out


def test_rule_of_who_may_sign_in_knows_neither_django_nor_the_network() -> None:
    graph = grimp.build_graph("oauth", include_external_packages=True, cache_dir=None)
    room = {"oauth.access_rule", *graph.find_descendants("oauth.access_rule")}
    reached = {name for each in room for name in graph.find_modules_directly_imported_by(each)}
    assert reached - room - sys.stdlib_module_names == {"idna"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_long(package: str) -> None:
    lengths = {module_of(path): len(path.read_bytes().splitlines()) for path in files(package)}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_is_crowded(package: str) -> None:
    folders = {path.parent for path in files(package)}
    counts = {
        str(folder.relative_to(ROOT)): len(set(folder.glob("*.py")) - {folder / "__init__.py"})
        for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def in_new_process(code: str) -> str:
    """Run code in a Python without settings; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_backend_reads_no_setting_and_imports_no_boto() -> None:
    code = """
import sys
import sessions_kms.backend
from django.conf import settings
print(settings.configured, [name for name in sys.modules if name.startswith("boto")])
"""
    assert in_new_process(code) == "False []"


def test_whole_engine_but_its_commands_and_admin_is_imported_without_settings() -> None:
    # Django itself imports the model and the admin, once its settings are there.
    modules = [
        module_of(path)
        for path in files("sessions_kms")
        if not {"commands", "migrations"} & set(path.parts)
        and not path.name.startswith(("admin", "models"))
        and "admin" not in path.parts
    ]
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    assert in_new_process(code) == ""
