"""The client of a table: boto, or the wire beside it, and one attempt by either."""
