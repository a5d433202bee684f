"""The database of each test is as it was made, whatever the test before has committed."""

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)
SEEN: list[list[tuple[int, str]]] = []


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_committed_is_gone_for_the_next(turn: int) -> None:
    assert not connection.in_atomic_block
    assert not User.objects.exists()
    assert not ContentType.objects.filter(app_label="another").exists()
    permissions = list(Permission.objects.order_by("pk").values_list("pk", "codename"))
    assert permissions
    SEEN.append(permissions)
    assert SEEN[0] == SEEN[-1]
    User.objects.create_user("ada")
    Permission.objects.first().delete()  # type: ignore[union-attr]  # there are some
    ContentType.objects.create(app_label="another", model="thing")
