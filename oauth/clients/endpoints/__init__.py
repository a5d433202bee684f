"""The HTTP endpoints of the authorization server: JSON for programs, pages for people."""
