"""The whole session contract once more, under the printed policy of the site."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from sessions_kms.infrastructure import policies
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.contract.test_sync import *  # noqa: F403 - its tests run here, too
from tests.sessions_kms.operations.test_ending import *  # noqa: F403
from tests.sessions_kms.support.iam import ACCOUNT, Enforcement
from tests.sessions_kms.support.stacks import REGION, Stack, running_stack
from tests.support.clock import FakeClock

ROLE = f"arn:aws:iam::{ACCOUNT}:role/site"
pytestmark = pytest.mark.usefixtures("stack")


@pytest.fixture
def make_stack(
    request: pytest.FixtureRequest,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> Iterator[MakeStack]:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    enforced = Enforcement(ROLE, {}, {})

    with running_stack("moto", clock, monkeypatch, request) as make:

        def make_enforced(**config: Any) -> Stack:
            enforced.install()
            stack = make(**config)
            enforced.policy, enforced.key_policy = policies_of(stack)
            return stack

        yield make_enforced
    assert enforced.denied == set()


def policies_of(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    config = stack.config
    store = policies.Store(
        table=config.table_name,
        namespace=config.namespace,
        alias="alias/sessions",
        encryption_context=config.encryption_context,
        old_keys=config.decrypt_key_ids,
    )
    arns = policies.resources_of(store, key=config.key_id, account=ACCOUNT, region=REGION)
    policy = policies.role_policy(policies.WEB, store.context, arns)
    roles = dict.fromkeys(policies.ROLES, ROLE)
    root = f"arn:aws:iam::{ACCOUNT}:root"
    return policy, policies.key_policy(store.context, account=root, roles=roles, multi_region=False)
