"""AWS: clients, signatures, deadlines, retries, circuits, the clock. Boto is imported here only."""
