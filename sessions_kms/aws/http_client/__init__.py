"""The engine's HTTP/1.1 client: whole responses, in threads and in event loops. Knows no AWS."""
