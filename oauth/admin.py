"""Take out of the admin what must not be kept in the database: provider secrets and tokens."""

import allauth.socialaccount.admin  # noqa: F401  (registers what is taken out below)
from allauth.socialaccount.models import SocialApp, SocialToken
from django.contrib import admin

admin.site.unregister([SocialApp, SocialToken])
