"""The rules of a call, without any network: URLs, headers, cookies, origins, bodies, problems."""
