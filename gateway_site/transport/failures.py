"""What can be wrong with an upstream.

The names of these classes are what the log tells, and docs/operations.md explains.
"""


class UpstreamFailed(Exception):
    """There is no response of an upstream, or no more of one. It repeats nothing of a call."""


class UpstreamTimeout(UpstreamFailed):
    """It took too long."""


class ConnectError(UpstreamFailed):
    """It was not reached."""


class ConnectTimeout(UpstreamTimeout):
    """It was not reached in time."""


class WriteTimeout(UpstreamTimeout):
    """It did not take the request in time."""


class ReadError(UpstreamFailed):
    """The connection broke before the response, or within it."""


class ReadTimeout(UpstreamTimeout):
    """It did not answer in time."""


class Unheard(ReadError):
    """The connection had answered before, and ended without a byte of this response."""


class RemoteProtocolError(UpstreamFailed):
    """What it said is no response, or not the whole of one."""


class LocalProtocolError(UpstreamFailed):
    """The request cannot be written in one way only."""
