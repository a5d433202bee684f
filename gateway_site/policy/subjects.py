"""What a message is about: a tool, prompts or resources.

Some methods name it in an object within `params`, where it is read strictly as well.
"""

from dataclasses import dataclass
from typing import Any

from gateway_site.mcp.messages import Message

TOOLS, PROMPTS, RESOURCES = "tools", "prompts", "resources"
KINDS_OF_METHODS = {
    "tools/call": TOOLS,
    "prompts/get": PROMPTS,
    "resources/read": RESOURCES,
    "resources/subscribe": RESOURCES,
    "resources/unsubscribe": RESOURCES,
}
COMPLETE, LISTEN = "completion/complete", "subscriptions/listen"
KINDS_OF_REFERENCES = {"ref/prompt": (PROMPTS, "name"), "ref/resource": (RESOURCES, "uri")}
REFERENCE_MEMBERS = frozenset({"type", "title"})
# https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
SUBSCRIPTIONS = "resourceSubscriptions"
SUBSCRIPTIONS_MAX = 256  # in one call; each takes tens of microseconds
URI_MAX = 8 * 1024  # bytes of a resource's address; servers may cut what is longer
URIS_MAX = 64 * 1024  # bytes of all that one call is about
LISTEN_MEMBERS = frozenset(
    {"toolsListChanged", "promptsListChanged", "resourcesListChanged", SUBSCRIPTIONS}
)
METHODS_ABOUT = {
    TOOLS: ("tools/call",),
    PROMPTS: ("prompts/get", COMPLETE),
    RESOURCES: (
        *("resources/read", "resources/subscribe", "resources/unsubscribe"),
        *(COMPLETE, LISTEN),
    ),
}
METHODS_WITH_SUBJECT = frozenset(method for each in METHODS_ABOUT.values() for method in each)


@dataclass(frozen=True, slots=True)
class Subject:
    """A tool or prompt by its name, or a resource by its address."""

    kind: str
    name: str

    @property
    def size(self) -> int:
        """How many bytes the name has in UTF-8."""
        return len(self.name.encode(errors="replace"))  # A command line may not be UTF-8.


def subjects_of(message: Message) -> tuple[Subject, ...] | None:
    """Return what a request or a notification is about; None if that is unclear or too long."""
    found = _find_subjects(message)
    sizes = [each.size for each in found or () if each.kind == RESOURCES]
    is_too_long = max(sizes, default=0) > URI_MAX or sum(sizes) > URIS_MAX
    return None if is_too_long else found


def _find_subjects(message: Message) -> tuple[Subject, ...] | None:
    method = message.method or ""
    if kind := KINDS_OF_METHODS.get(method):
        return None if message.name is None else (Subject(kind, message.name),)
    if method == COMPLETE:
        return _read_reference(message.params.get("ref"))
    if method == LISTEN:
        return _read_subscriptions(message.params.get("notifications", {}))
    return ()


def _read_reference(reference: Any) -> tuple[Subject, ...] | None:
    """Return the prompt or resource whose arguments are completed."""
    if not isinstance(reference, dict) or not isinstance(reference.get("type"), str):
        return None
    kind, member = KINDS_OF_REFERENCES.get(reference["type"], (None, ""))
    name = reference.get(member)
    is_clear = reference.keys() - REFERENCE_MEMBERS == {member}
    return (Subject(kind, name),) if kind and isinstance(name, str) and is_clear else None


def _read_subscriptions(wanted: Any) -> tuple[Subject, ...] | None:
    """Return the resources whose changes a client wants to hear of."""
    if not isinstance(wanted, dict) or wanted.keys() - LISTEN_MEMBERS:
        return None
    uris = wanted.get(SUBSCRIPTIONS, [])
    if not isinstance(uris, list) or len(uris) > SUBSCRIPTIONS_MAX:
        return None
    if not all(isinstance(each, str) for each in uris):
        return None
    return tuple(Subject(RESOURCES, each) for each in uris)
