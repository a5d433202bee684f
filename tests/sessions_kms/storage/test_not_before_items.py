"""The items of the moments before which nothing counts, on each stand-in of DynamoDB."""

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.storage.not_before import NotBeforeItems
from tests.sessions_kms.support.stacks import Stack

NOW = 1_800_000_000


@pytest.fixture
def moments(stack: Stack) -> NotBeforeItems:
    return stack.services.not_before_items


def test_not_before_is_zero_without_an_item_and_else_its_number(
    stack: Stack, moments: NotBeforeItems
) -> None:
    assert run_sync(moments.get()) == 0
    item = {
        "id": {"S": "not-before#django"},
        "version": {"N": "1"},
        "notBefore": {"N": str(NOW)},
    }
    stack.put_item(item)
    assert run_sync(moments.get()) == NOW
    for name, wrong in (("version", {"N": "2"}), ("notBefore", {"S": "now"})):
        stack.put_item(item | {name: wrong})
        with pytest.raises(InvalidRecord) as caught:
            run_sync(moments.get())
        assert caught.value.reason == name


def test_moment_with_a_name_is_one_of_its_own(moments: NotBeforeItems) -> None:
    assert run_sync(moments.raise_to(NOW, "google", latest=NOW)) is True
    assert run_sync(moments.raise_to(NOW, "google", latest=NOW)) is False
    found = [run_sync(moments.get(name)) for name in ("google", "github", None)]
    assert found == [NOW, 0, 0]
