"""Responses to read: as DynamoDB sends them, and others that are right."""

BODY = b'{"Item": {"id": {"S": "abc"}}}'
SIZED = (
    b"HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Wed, 01 Jan 2031 00:00:00 GMT\r\n"
    b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: 30\r\n"
    b"Connection: keep-alive\r\nx-amzn-RequestId: ABC\r\nx-amz-crc32: 2745614147\r\n\r\n" + BODY
)
CHUNKED = (
    b"HTTP/1.1 400 Bad Request\r\ntransfer-encoding: Chunked\r\nDate:\t now\r\n\r\n"
    b"A\r\n" + BODY[:10] + b"\r\n014 ;a=b;c\r\n" + BODY[10:] + b"\r\n0;x\r\nX-Trailer: a\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SIZED
CLOSING = b"HTTP/1.1 500 \r\nConnection: x, Close\r\nContent-Length: 000\r\n\r\n"
OLD = b"HTTP/1.0 503\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
TWICE = b"HTTP/1.1 299 A\xe9\tB\r\nvary: a\r\nVary:b\r\nempty:\r\nContent-Length: 1\r\n\r\n\0"
ALL = (SIZED, CHUNKED, INTERIM, CLOSING, OLD, TWICE)


def make_response(
    *headers: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = b"{}"
) -> bytes:
    """Return a response of these header lines."""
    return b"\r\n".join([status, *headers, b"", body])


def chunk(*pieces: bytes) -> bytes:
    """Return a response whose body is these bytes, framed by the caller."""
    return make_response(b"Transfer-Encoding: chunked", body=b"".join(pieces))
