"""The rights in the admin that a user has only because of the groups of an account.

Django reads `User.is_staff` and `User.is_superuser`. If they are set otherwise (by
the command `staff` or in the admin), they stay set. A row says that a flag is set because of the
groups of one account, so that the account's next sign-in may remove it.
"""

from django.db import models


class GroupRights(models.Model):
    """The flags of a user that are set because of the groups of one account."""

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
