"""The clients that are tried, in the order of the report."""

from __future__ import annotations

from tests.mcp_clients.client import Client
from tests.mcp_clients.programs.python_sdk import LegacyPythonSDK, PythonSDK

PROGRAMS: tuple[type[Client], ...] = (PythonSDK, LegacyPythonSDK)
