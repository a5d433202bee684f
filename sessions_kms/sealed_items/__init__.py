"""What is kept sealed beside the sessions: what one tells of itself, and leases."""
