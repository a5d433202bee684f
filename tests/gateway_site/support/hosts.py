"""Names of hosts."""

from __future__ import annotations

HOST = "gateway.example.com"
