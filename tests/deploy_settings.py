"""The production settings, without the check of the Python version, which is this machine's."""

from gateway_site.settings import *  # noqa: F403
from gateway_site.settings import SILENCED_SYSTEM_CHECKS as _SILENCED

SILENCED_SYSTEM_CHECKS = [*_SILENCED, "sessions_kms.W010"]
