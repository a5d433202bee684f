"""The gateway's own settings, and two addresses that read and change a session."""

from gateway_site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.soak.urls"
