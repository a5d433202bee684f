"""The gateway's own settings, and addresses that read and change the session and do no more."""

from gateway_site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.urls"
