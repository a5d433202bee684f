"""The types of ASGI, as loose as its messages are read here.

`asgiref.typing` has a closed dict for each kind of message, to be narrowed before every look at it.
https://asgi.readthedocs.io/en/stable/specs/main.html#applications
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]
