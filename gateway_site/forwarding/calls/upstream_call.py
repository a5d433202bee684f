"""The call of an upstream that a request becomes, once it is admitted."""

from dataclasses import dataclass, field

from django.http import HttpRequest

from gateway_site.forwarding.calls.caller import Caller
from gateway_site.forwarding.request import release_request
from gateway_site.rules.headers import Headers
from gateway_site.rules.upstream import Upstream
from gateway_site.transport.pool import Owner


@dataclass(kw_only=True, eq=False)
class UpstreamCall:
    """One admitted call of an upstream. `target` is the whole URL."""

    request: HttpRequest = field(repr=False)
    caller: Caller = field(repr=False)
    owner: Owner = field(repr=False)
    upstream: Upstream
    method: str
    target: str = field(repr=False)
    headers: Headers = field(repr=False)
    framing: Headers
    script_name: str = ""

    def __post_init__(self) -> None:
        self.is_client = self.caller.grant is not None  # whether a client's token came with it

    @property
    def concurrency_key(self) -> object:
        """The key that open calls are counted under: a client's apart from its person's."""
        if not self.is_client:
            return self.upstream.name, self.owner.person
        return self.upstream.name, self.owner.person, self.owner.holder

    def release(self) -> None:
        """Drop the request and the caller, with session and tokens; safe to call again.

        A response may stream for an hour, and an aborted call may have none.
        """
        request = vars(self).pop("request", None)
        if request is not None:
            release_request(request)
        vars(self).pop("caller", None)
        self.headers = []
