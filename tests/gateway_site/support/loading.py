"""The gateway's settings under a given environment, without changing the current settings."""

import os
import runpy
from typing import Any
from unittest.mock import patch

from tests import ROOT
from tests.deploy_check import PRODUCTION


def load_settings(environment: dict[str, str]) -> dict[str, Any]:
    """Run the settings module under exactly this environment."""
    with patch.dict(os.environ, environment, clear=True):
        module = runpy.run_path(str(ROOT / "gateway_site" / "settings.py"))
    return {name: value for name, value in module.items() if name.isupper()}


def production(**changes: str) -> dict[str, Any]:
    """Return the settings of a complete production environment, with changes."""
    return load_settings(PRODUCTION | changes)


def local(**changes: str) -> dict[str, Any]:
    """Return the settings of a local run."""
    return load_settings({"GATEWAY_LOCAL": "1", "DJANGO_SECRET_KEY": "x" * 50, **changes})
