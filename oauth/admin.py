"""Removes provider secrets and tokens, which must not be in the database, from the admin."""

import allauth.socialaccount.admin  # noqa: F401  (registers what is taken out below)
from allauth.socialaccount.models import SocialApp, SocialToken
from django.contrib import admin

admin.site.unregister([SocialApp, SocialToken])
