"""A model without an SQL table, for the pages and permissions of Django's admin."""

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from sessions_kms.format.item_types import SHORT_ID

if TYPE_CHECKING:
    from sessions_kms.operations.listing import Row


class NoRows(models.Manager["Session"]):
    """Makes no query, so that commands for all models, such as `dumpdata`, find nothing."""

    def get_queryset(self) -> models.QuerySet["Session"]:
        """Return nothing."""
        return super().get_queryset().none()


class Session(models.Model):
    """One session, with the id of its record. The admin reads the rest from DynamoDB."""

    id = models.CharField("id", max_length=43, primary_key=True)

    objects = NoRows()

    # What the pages show.
    row: "Row"
    user_name: str
    user_url: str
    size: int | None
    content: str
    about: str

    class Meta:
        managed = False
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        base_manager_name = "objects"
        default_permissions = ()
        permissions = (
            ("view_session", "Can view sessions"),
            ("end_session", "Can end sessions"),
        )

    def __str__(self) -> str:
        return self.id[:SHORT_ID]

    @classmethod
    def of(cls, row: "Row") -> "Session":
        """Return the model of a row."""
        session = cls(id=row.id)
        session.row = row
        return session
