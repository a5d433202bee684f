"""The workflows and forms of `.github`: valid, without a known weakness, and nothing floats."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import ROOT
from tests.support import warm_python
from tests.support.cases import each_case

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [
    path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"
]
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.github-issue-forms": FORMS,
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE/config.yml"],
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
    "vendor.compose-spec": [ROOT / "compose.yaml", ROOT / "compose.aws.yaml"],
}
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")


def output(*command: str) -> str:
    done = warm_python.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def load_yaml(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@each_case("schema", SCHEMAS)
def test_files_match_their_schema(schema: str) -> None:
    names = [str(path) for path in SCHEMAS[schema]]
    assert names
    output(sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *names)


def test_zizmor_finds_nothing() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    told = output(str(zizmor), "--offline", "--persona=pedantic", "--no-progress", str(GITHUB))
    assert "No findings to report" in told


@each_case("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_action_is_pinned_to_a_commit_with_its_version(path: Path) -> None:
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert used
    assert [each for each in used if not PINNED.fullmatch(each)] == []


@each_case("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_permission_that_a_job_does_not_ask_for(path: Path) -> None:
    workflow = load_yaml(path)
    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())


def test_only_the_job_in_the_reviewed_environment_can_publish() -> None:
    jobs = load_yaml(GITHUB / "workflows/release.yml")["jobs"]
    publishing = [name for name, job in jobs.items() if "uv publish" in str(job)]
    assert publishing == ["publish"]
    assert jobs["publish"]["environment"] == "release"


def test_release_is_checked_on_the_oldest_and_the_newest_pair() -> None:
    """Without an interpreter of its own, a pair would be that of the job's Python."""
    steps = load_yaml(GITHUB / "workflows/release.yml")["jobs"]["build"]["steps"]
    [python] = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
    assert python["python-version"].split() == ["3.11", "3.14"]
    assert "make release-check" in [step.get("run") for step in steps]


def test_each_target_of_make_that_a_workflow_names_exists() -> None:
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = set(
        load_yaml(GITHUB / "workflows/nightly.yml")["jobs"]["long"]["strategy"]["matrix"]["target"]
    )
    for path in WORKFLOWS:
        for words in re.findall(r"run: make ([a-z -]+)", path.read_text(encoding="utf-8")):
            named |= set(words.split())
    assert named - set(targets) == set()


def test_the_pairs_of_the_matrix_are_those_of_nox() -> None:
    jobs = load_yaml(GITHUB / "workflows/tests.yml")["jobs"]
    pairs = {
        (each["python"], each["django"]) for each in jobs["pairs"]["strategy"]["matrix"]["include"]
    }
    whole = {("3.11", "5.2"), ("3.14", "6.1")}  # the job "suite" runs everything on these
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    listed = {
        (python, django)
        for django, pythons in re.findall(r'^    "(\d\.\d)": \((.+)\),$', text, re.MULTILINE)
        for python in re.findall(r"\d\.\d+", pythons)
    }
    assert pairs | whole == listed
