"""Cookies: the names of the site's own, and what only passes for one of them."""
