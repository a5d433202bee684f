"""Tools as they were pinned: others are hidden, and their calls rejected like unknown ones.

What a process has seen last of a tool decides about its calls. Nothing here compares what a tool
does: a server may do anything when it is called.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from threading import Lock
from typing import Any

from gateway_site.edge import access_log
from gateway_site.edge.http_metrics import UPSTREAM, gateway
from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import INVALID_REQUEST, InvalidMessage, Message
from gateway_site.mcp.policy import MCPCall, Policy
from gateway_site.policy.call_policy import make_denial
from gateway_site.policy.pinned_tools import NAME, PinnedTools, compute_digest
from gateway_site.policy.spellings import is_plain_method, is_plain_name
from gateway_site.policy.subjects import TOOLS
from sessions_kms.hints import command

logger = logging.getLogger(__name__)

CALL = "tools/call"
CHANGED = "tools.changed"  # the counter
RULE = "pins"  # what decided, in the audit log
VERSIONS_MAX = 10  # of one pinned tool that are reported
UNPINNED_MAX = 200  # tools of an upstream that are not pinned and are reported


class SeenTools:
    """What a process has seen of one upstream's tools. Bounded, and safe in threads."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._lock = Lock()
        self._last: dict[str, str] = {}  # the last digest of each tool that was pinned then
        self._reported: dict[str | None, set[str]] = {}  # None: of tools that are not pinned

    def is_current(self, name: str, pinned: PinnedTools) -> bool:
        """Return True if a tool is pinned, and was last seen as it is pinned, or not at all."""
        digests = pinned.digests.get(name, frozenset())
        with self._lock:
            last = self._last.get(name)
        return bool(digests) and (last is None or last in digests)

    def note(self, name: str | None, digest: str, pinned: PinnedTools) -> bool:
        """Note a definition; return True if it is pinned. None is a name that no tool may have."""
        digests = pinned.digests.get(name, frozenset()) if name is not None else frozenset()
        is_pinned = digest in digests
        with self._lock:
            if name is not None and digests:
                self._last[name] = digest
            must_report = not is_pinned and self._is_new(name if digests else None, digest)
        if must_report:
            self._report(name, digest, digests)
        return is_pinned

    def forget_others(self, pinned: PinnedTools) -> None:
        """Forget tools that are no longer pinned, once a file was read again."""
        with self._lock:
            for name in self._last.keys() - pinned.digests.keys():
                del self._last[name]
            for reported in self._reported.keys() - pinned.digests.keys() - {None}:
                del self._reported[reported]

    def _is_new(self, name: str | None, digest: str) -> bool:
        """Return True if a definition was not reported, and there is room for it."""
        reported = self._reported.setdefault(name, set())
        if digest in reported:
            return False
        gateway.count(CHANGED, **{UPSTREAM: self._upstream})
        if len(reported) >= (UNPINNED_MAX if name is None else VERSIONS_MAX):
            return False
        reported.add(digest)
        return True

    def _report(self, name: str | None, digest: str, pinned: Collection[str]) -> None:
        logger.warning(
            "A tool of %s is not as pinned, so it is hidden and cannot be called: %s, digest %s,"
            " pinned %s. Compare: %s",
            self._upstream,
            "(no plain name)" if name is None else name,
            digest,
            " or ".join(sorted(pinned)) or "not at all",
            command(f"pin_tools {self._upstream}"),
        )


class PinPolicy:
    """The pinned tools of an upstream for one call, beside what another policy decides."""

    accepts_old_transport = False

    def __init__(self, other: Policy, pinned: PinnedTools, seen: SeenTools) -> None:
        self._other = other
        self._pinned = pinned
        self._seen = seen

    def admit(self, call: MCPCall) -> None:
        """Let a call pass that the other policy allows, too. Raises Problem."""
        self._other.admit(call)
        if not self.allows(call.message):
            self._note_denial(call)
            raise make_denial(call.message, call.version)

    def allows(self, message: Message | None) -> bool:
        """Return True for a call of a tool as it is pinned, and for what is no such call."""
        if message is None or message.method is None:
            return True
        if message.method == CALL:
            return self._seen.is_current(message.name or "", self._pinned)
        return is_plain_method(message.method)

    def rewrite(self, call: MCPCall, response: Message) -> JSONObject | None:
        """Return a result without tools that are not as pinned. Raises InvalidMessage."""
        result = self._keep_pinned(response.result)
        changed = self._other.rewrite(
            call, response if result is None else replace(response, result=result)
        )
        return result if changed is None else changed

    def _keep_pinned(self, result: JSONObject) -> JSONObject | None:
        """Return a result with its pinned tools only; None if it has no others."""
        tools = result.get(TOOLS, [])
        if not isinstance(tools, list):
            raise InvalidMessage(INVALID_REQUEST, "tools must be a list.")
        kept = [each for each in tools if self._is_pinned(each)]
        return None if len(kept) == len(tools) else {**result, TOOLS: kept}

    def _is_pinned(self, tool: Any) -> bool:
        if not isinstance(tool, dict):
            return False
        name = tool.get(NAME)
        plain = name if isinstance(name, str) and is_plain_name(name) else None
        return self._seen.note(plain, compute_digest(tool), self._pinned)

    def _note_denial(self, call: MCPCall) -> None:
        entry = access_log.current_entry()
        if entry is not None and entry.checked is not None:
            entry.checked = replace(entry.checked, rule=RULE, policy=self._pinned.digest)
        logger.info("A call of %s was denied: the tool is not as pinned.", call.upstream)
