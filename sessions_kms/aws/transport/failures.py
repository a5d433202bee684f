"""What ended a call without an answer, in botocore's own errors: by these `calls` judges.

An OSError and an endpoint enter, an error leaves. `ConnectTimeoutError` and
`EndpointConnectionError` say that nothing was sent; all others, that something may have been.
"""

import ssl

from sessions_kms.aws.http1.endpoint import Endpoint


def not_connected(endpoint: Endpoint, exc: OSError) -> Exception:
    """Return the error of a call for which there was no connection: nothing was sent."""
    from botocore import exceptions

    if isinstance(exc, TimeoutError):
        return exceptions.ConnectTimeoutError(endpoint_url=endpoint.url, error=exc)
    if isinstance(exc, ssl.SSLError):  # boto's name for it, which tells of the certificate
        return exceptions.SSLError(endpoint_url=endpoint.url, error=exc)
    return exceptions.EndpointConnectionError(endpoint_url=endpoint.url, error=exc)


def unanswered(endpoint: Endpoint, exc: OSError) -> Exception:
    """Return the error of a call that was sent, in part at least, and not answered."""
    from botocore import exceptions

    if isinstance(exc, TimeoutError):
        return exceptions.ReadTimeoutError(endpoint_url=endpoint.url, error=exc)
    return exceptions.ConnectionClosedError(endpoint_url=endpoint.url, error=exc)
