"""Messages name a command as the commands of the project are called."""

import pytest

from tests.support.processes import output_of

pytestmark = pytest.mark.slow

SHOW = "from sessions_kms.doctor.trouble import CREATE; print(CREATE)"


@pytest.mark.parametrize(
    ("programs", "named"),
    [
        ([], "manage.py"),
        (["kms-gateway"], "kms-gateway"),
        (["python -m gateway_site", "kms-gateway"], "python -m gateway_site"),
    ],
)
def test_messages_name_the_first_program_that_was_set(programs: list[str], named: str) -> None:
    calls = "".join(f"use_program({program!r}); " for program in programs)
    code = f"from sessions_kms.hints import use_program; {calls}{SHOW}"
    assert output_of(code) == f"Run `{named} create_session_store`."
