"""What surrounds every request: proxies, the site's own cookies, logs and reports."""
