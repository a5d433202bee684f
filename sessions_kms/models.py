"""A model for Django's admin to hang its pages and permissions on; it has no SQL table."""

from typing import TYPE_CHECKING

from django.db import models

from sessions_kms.format.item_types import SHORT_ID

if TYPE_CHECKING:
    from sessions_kms.operations.listing import Row


class NoRows(models.Manager["Session"]):
    """Asks no SQL, so that what goes through all models (`dumpdata`, say) finds none of this."""

    def get_queryset(self) -> models.QuerySet["Session"]:
        """Return nothing."""
        return super().get_queryset().none()


class Session(models.Model):
    """One session, named by the id of its record. The admin reads the rest from DynamoDB."""

    id = models.CharField("id", max_length=43, primary_key=True)

    objects = NoRows()

    # What the pages show of it.
    row: "Row"
    user_name: str
    user_url: str
    size: int | None
    content: str
    about: str

    class Meta:
        managed = False
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
        """Return the model of a row, which its columns show."""
        session = cls(id=row.id)
        session.row = row
        return session
