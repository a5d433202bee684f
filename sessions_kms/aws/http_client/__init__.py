"""The engine's HTTP/1.1 client: complete responses, in threads and event loops, for any service."""
