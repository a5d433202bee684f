"""The soak's app gets tokens, calls with them and gives them back."""

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.soak.app_user import AppUser
from tests.soak.environment import environment_of
from tests.soak.fleet import running_fleet
from tests.soak.ledger import Ledger
from tests.support.local_kms import running_kms
from tests.support.roto import running_roto

pytestmark = [pytest.mark.stack, pytest.mark.long]


def test_app_is_allowed_refreshes_and_gives_its_grant_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    with ExitStack() as stack:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", stack.enter_context(running_roto()))
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", stack.enter_context(running_kms()).url)
        variables = environment_of(stack, tmp_path)
        fleet = stack.enter_context(running_fleet(1, variables, tmp_path))
        chance = random.Random(0)  # noqa: S311 - no secret
        user = AppUser(fleet, ledger, chance, "app-user")
        user.act()  # It is let in.
        user.act()
        user._due = 0.0
        user.act()  # It refreshes.
        user._give_back()
        user.close()
    assert ledger.violations == []
    counted = ("consent", "authorization_code", "app", "refresh_token", "revoke", "revoked")
    assert [kind for kind in counted if not ledger.requests[kind]] == []
