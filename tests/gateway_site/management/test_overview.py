"""`kms-gateway help`: the gateway's commands, and with --all those of Django too."""

import contextlib

import pytest
from django.core.management import get_commands

from gateway_site import __main__ as program
from gateway_site import installation
from gateway_site.management.overview import OURS


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "name_program", lambda: "kms-gateway")


@pytest.mark.parametrize("line", [[], ["help"], ["--help"], ["-h"]])
def test_help_has_one_line_for_each_command_of_ours(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    program.run(line)
    listed = [each for each in capsys.readouterr().out.splitlines() if each.startswith("  ")]
    assert [each.split()[0] for each in listed] == sorted(
        name for name, app in get_commands().items() if app in OURS
    )
    assert all(each.endswith(".") for each in listed)


@pytest.mark.parametrize(
    ("line", "text"), [(["help", "--all"], "[staticfiles]"), (["help", "staff"], "usage: ")]
)
def test_help_with_more_is_django_s(
    line: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        program.run(line)
    assert text in capsys.readouterr().out
