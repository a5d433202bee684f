"""The clients that are tried, in the order of the report."""

from tests.mcp_clients.client import Client
from tests.mcp_clients.programs.claude_code import ClaudeCode, ClaudeCodeSession
from tests.mcp_clients.programs.codex import Codex
from tests.mcp_clients.programs.fastmcp_command import FastMCP, FastMCPSession
from tests.mcp_clients.programs.mcp_remote import MCPRemote, MCPRemoteAnew
from tests.mcp_clients.programs.mcporter import MCPorter
from tests.mcp_clients.programs.python_sdk import (
    LegacyPythonSDK,
    LegacyPythonSession,
    PythonSDK,
    PythonSession,
)
from tests.mcp_clients.programs.typescript_sdk import (
    FirstTypeScriptSDK,
    FirstTypeScriptSession,
    TypeScriptSDK,
    TypeScriptSession,
)

PROGRAMS: tuple[type[Client], ...] = (
    PythonSDK,
    LegacyPythonSDK,
    PythonSession,
    LegacyPythonSession,
    TypeScriptSDK,
    FirstTypeScriptSDK,
    TypeScriptSession,
    FirstTypeScriptSession,
    FastMCP,
    FastMCPSession,
    MCPRemote,
    MCPRemoteAnew,
    MCPorter,
    Codex,
    ClaudeCode,
    ClaudeCodeSession,
)
