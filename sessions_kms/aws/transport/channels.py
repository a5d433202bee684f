"""New channels to one endpoint: in the clear, or under TLS, whose sessions are resumed.

An endpoint and the file of whom TLS believes enter, channels leave. Knows no socket.
"""

import ssl
from functools import cache

from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.transport.channel import Channel, Clear, Tls


@cache
def context_for(authorities: str) -> ssl.SSLContext:
    """Return the context that believes the authorities in a file, as boto takes one.

    One for each file: reading it costs more than a hundred calls. Raises OSError.
    """
    return ssl.create_default_context(cafile=authorities)


class Channels:
    """Those to one endpoint."""

    def __init__(self, endpoint: Endpoint, authorities: str) -> None:
        if endpoint.tls and not authorities:
            raise ValueError("TLS needs the file of the authorities that are believed.")
        self._endpoint = endpoint
        self._authorities = authorities
        self._session: ssl.SSLSession | None = None

    def new(self) -> Channel:
        """Return a channel that is not open yet. Raises OSError."""
        if not self._endpoint.tls:
            return Clear()
        return Tls(context_for(self._authorities), self._endpoint.host, self._session)

    def answered(self, channel: Channel) -> bool:
        """Keep what resumes the session of a channel: the next handshake is a short one.

        False where it may come yet, with a later answer; a copy of the session takes a while.
        """
        if not isinstance(channel, Tls):
            return True
        self._session = channel.session()
        return self._session is not None and self._session.has_ticket
