"""Which rights in the admin somebody has by the groups of an account, and by nothing else.

`User.is_staff` and `User.is_superuser` are what Django reads; whoever sets them otherwise
(`manage.py staff`, the admin) gives them for good. A row says that such a flag is set because
of the groups of one account, so that the account's next sign-in may take it again.
"""

from __future__ import annotations

from django.db import models


class GroupRights(models.Model):
    """The flags of a user that the groups of one account hold up."""

    account = models.OneToOneField(
        "socialaccount.SocialAccount",
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="group_rights",
    )
    is_staff = models.BooleanField(default=False)
    is_superuser = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Rights of account {self.pk} by its groups"
