"""Names of hosts."""

HOST = "gateway.example.com"
