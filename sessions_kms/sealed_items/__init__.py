"""Items that are sealed: a session, what it tells of itself, and leases."""
