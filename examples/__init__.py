"""Programs to read, to run, and to begin from."""
