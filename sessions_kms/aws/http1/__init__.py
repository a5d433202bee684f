"""HTTP/1.1 (RFC 9112) as bytes: a request is written, an answer is read. Knows no socket."""
