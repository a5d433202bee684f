"""The gateway's settings, with URLs that only read or change the session."""

from gateway_site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.urls"
