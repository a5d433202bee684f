"""Each kind of item has a separate version: a new one does not affect the others."""

import pytest

from sessions_kms import services
from sessions_kms.aws.table_client import create_table_client
from sessions_kms.format import item_types
from sessions_kms.format.item_types import ItemType
from tests.sessions_kms.support import every_kind
from tests.sessions_kms.support.every_kind import AHEAD, KNOWN, Names, release, unknown, versions_in
from tests.sessions_kms.support.stacks import Stack, install

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
every = pytest.mark.parametrize("kind", item_types.ITEM_TYPES, ids=lambda kind: kind.name)


def seen_values(stack: Stack, names: Names) -> dict[str, object]:
    """Return what new processes see, which share a client: it remembers nothing of the items."""
    client = create_table_client(stack.config.region_name, stack.config.client)

    def afresh() -> None:
        made = services.build(stack.config, clock=stack.clock, client=client, sleep=lambda _: None)
        install(made)

    return every_kind.read(names, afresh)


def test_all_kinds_are_written_as_documented(stack: Stack) -> None:
    every_kind.write()
    items = list(stack.items().values())
    assert {every_kind.kind_of(item) for item in items} == set(item_types.ITEM_TYPES)
    for item in items:
        kind = every_kind.kind_of(item)
        assert kind is not None
        types = {name: next(iter(value)) for name, value in item.items()}
        assert types.items() >= kind.attributes.items()
        assert types.items() <= {**kind.attributes, **kind.optional}.items()


@every
def test_version_1_of_every_kind_is_read_while_one_is_written_as_2(
    stack: Stack, kind: ItemType
) -> None:
    names = every_kind.write()
    with release(kind):
        assert seen_values(stack, names) == KNOWN


@every
def test_version_2_of_a_kind_is_read_ahead_and_else_refused_for_that_kind_alone(
    stack: Stack, kind: ItemType
) -> None:
    with release(kind):
        names = every_kind.write()
    others = {each.name: {"1"} for each in item_types.ITEM_TYPES}
    assert versions_in(stack.items()) == others | {kind.name: {"2"}}
    with release(kind, versions=AHEAD):
        assert seen_values(stack, names) == KNOWN
    assert seen_values(stack, names) == unknown(kind)
