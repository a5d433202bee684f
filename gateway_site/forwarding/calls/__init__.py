"""A call of an upstream: who calls, whether it may be made, and the exchange with the upstream."""
