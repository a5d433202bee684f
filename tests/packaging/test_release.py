"""What decides whether a tag is released: filled-in fields, one version, notes in the CHANGELOG."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

FILES = ("packaging/release.toml", "pyproject.toml", "packaging/gateway/pyproject.toml")
FIELDS = 'repository = "https://example.org/code"\nsite = "https://example.org"\ncontact = "us"\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree that may be released as v9.8.7."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('[project]\nversion = "9.8.7"\n', encoding="utf-8")
    (tmp_path / "packaging/release.toml").write_text(FIELDS, encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 9.8.7\n\n- New.\n\n## 9.8.6\n\n- Old.\n", encoding="utf-8"
    )
    return tmp_path


def run_release(root: Path, tag: str, *options: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "packaging/release.py"
    command = [sys.executable, str(script), tag, "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_complete_tree_may_be_released(tree: Path) -> None:
    done = run_release(tree, "v9.8.7")
    assert (done.returncode, done.stderr) == (0, "")


def test_empty_fields_stop_the_release_and_are_named(tree: Path) -> None:
    text = FIELDS.replace("https://example.org/code", "").replace("us", "")
    (tree / "packaging/release.toml").write_text(text, encoding="utf-8")
    done = run_release(tree, "v9.8.7")
    assert done.returncode == 1
    assert done.stderr == "Fill in repository and contact in packaging/release.toml.\n"


@pytest.mark.parametrize("project", FILES[1:])
def test_another_version_than_the_tags_stops_the_release(tree: Path, project: str) -> None:
    (tree / project).write_text('[project]\nversion = "9.8.6"\n', encoding="utf-8")
    done = run_release(tree, "v9.8.7")
    assert done.returncode == 1
    assert done.stderr == f"{project} has version 9.8.6, and the tag is v9.8.7.\n"


def test_a_version_without_notes_stops_the_release(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text("# Changelog\n\n## 9.8.70\n\n- Other.\n", encoding="utf-8")
    done = run_release(tree, "v9.8.7")
    assert done.returncode == 1
    assert done.stderr == "CHANGELOG.md has no section “## 9.8.7”.\n"


def test_notes_are_the_section_of_that_version_alone(tree: Path) -> None:
    assert run_release(tree, "v9.8.7", "--notes").stdout == "- New.\n"


def test_this_tree_is_not_released_while_its_fields_are_empty(tmp_path: Path) -> None:
    copied = tmp_path / "tree"
    for name in (*FILES, "CHANGELOG.md"):
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copied / name)
    done = run_release(copied, "v1.0.0b1")
    assert done.returncode == 1
    assert "Fill in repository, site and contact in packaging/release.toml." in done.stderr
