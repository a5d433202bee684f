"""Users in Django's admin, with the accounts that they sign in with.

A user name does not identify anybody: people chose it themselves, at the provider they first used.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from oauth.signals import rights_changed

RIGHTS = frozenset({"is_active", "is_staff", "is_superuser", "groups", "user_permissions"})

admin.site.unregister(User)


@admin.register(User)
class AccountsAdmin(UserAdmin):  # type: ignore[type-arg]  # Django has no such class
    """Django's own, with accounts in the list, on a user's page and in the search."""

    class Media:
        """What the pages load: rows that fit a phone."""

        css = {"all": ["sessions_kms/admin.css", "user_admin.css"]}  # noqa: RUF012 - as Django documents it

    list_display = ("username", "accounts", "email", "is_staff", "is_superuser", "is_active")
    search_fields = (*UserAdmin.search_fields, "socialaccount__uid")
    readonly_fields = ("accounts",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Load the accounts of all rows at once."""
        return super().get_queryset(request).prefetch_related("socialaccount_set")

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Show the accounts first; a new user has none."""
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is None else [(None, {"fields": ["accounts"]}), *fieldsets]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Announce changes of what a user may do, once all of them are saved."""
        super().save_related(request, form, formsets, change)
        if fields := [name for name in form.changed_data if name in RIGHTS]:
            by = f"user {request.user.pk} in the admin"
            rights_changed.send_robust(sender=None, user=form.instance, by=by, fields=fields)

    @admin.display(description=_("accounts"))
    def accounts(self, user: User) -> str:
        """Show the accounts that a user signs in with."""
        found = [
            (account.provider, account.uid)
            for account in user.socialaccount_set.all()  # type: ignore[attr-defined]  # allauth has no types
        ]
        shown = format_html_join(", ", "{} {}", found)
        return shown or gettext("none: nobody can sign in as this user")
