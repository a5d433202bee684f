"""docs/doctor.md lists exactly the findings; page and remedies name existing commands."""

import ast
import re

from django.core.management import get_commands

from gateway_site.variables import is_known
from sessions_kms.doctor.finding import NOT_CHECKED
from sessions_kms.doctor.process import DJANGOS
from sessions_kms.management.commands.check_session_store import INTERRUPTED
from tests import ROOT
from tests.sessions_kms.support.check_ids import CHECKS, WITH_AUDIT_KEY
from tests.sessions_kms.support.provoked_checks import OF_PYTHON, PROVOKED

PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
SOURCE = "".join(
    path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "sessions_kms/doctor").rglob("*.py"))
)


ENTRY = re.compile(r"^- (`.+?`): ", re.MULTILINE)


def test_page_names_every_finding_and_no_other() -> None:
    named = {name for entry in ENTRY.findall(PAGE) for name in re.findall(r"`([^`]+)`", entry)}
    checks = {f"sessions_kms.{name}" for name in (*PROVOKED, OF_PYTHON) if name[0] == "W"}
    ends = {"security.W010", "security.W012", "security.W013", "security.W015"}  # of two ranges
    assert ends <= set(DJANGOS)
    assert named == {*CHECKS, *WITH_AUDIT_KEY, NOT_CHECKED, INTERRUPTED.name} | checks | ends


def test_settings_are_named_as_their_operator_has_them() -> None:
    """The gateway's operator has variables, some of which have other names."""
    told = [node.value for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Constant)]
    names = "KEY_ID|DECRYPT_KEY_IDS|TABLE_NAME|NAMESPACE|NOT_BEFORE"
    named = [re.findall(rf"\b({names})\b( \(the gateway: (\w+)\))?", str(text)) for text in told]
    found = {(name, variable) for each in named for name, _, variable in each}
    assert sorted(name for name, _ in found) == sorted(names.split("|"))
    assert [name for _, name in found if not is_known(name)] == []


def test_commands_that_remedies_and_page_name_exist() -> None:
    called = set(re.findall(r"command\(f?['\"](\w+)", SOURCE))
    written = set(re.findall(r"manage\.py (\w+)", PAGE))
    assert called
    assert written
    named = (called | written) - {"check"}
    assert named <= set(get_commands())


def test_bounds_of_the_page_are_those_of_the_code() -> None:
    from sessions_kms.doctor import canary, process, stored_items

    assert f"by over {process.WARN} s (warning) or {process.FAIL} s (failing" in PAGE
    assert f"one page of the table, at most {stored_items.ITEMS} items" in PAGE
    assert f"more than {stored_items.OVERDUE // 3600} hours ago" in PAGE
    assert f"above {stored_items.LARGE // 1024} KB" in PAGE
    assert stored_items.DATA_KEYS == 5
    assert "of five data keys" in PAGE
    assert canary.LIFETIME == 300
    assert "lives for five minutes at most" in PAGE
