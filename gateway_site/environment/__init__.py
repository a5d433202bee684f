"""Environment variables, read once at start-up; every error names its variable."""
