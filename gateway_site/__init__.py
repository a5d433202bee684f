"""The gateway: a Django project that signs people in and calls upstreams with their tokens."""

# The subpackages, lowest first: each imports only from those above it (`.importlinter`).
#
#   environment                              variables, read once
#   providers                                OAuth providers from variables
#   health                                   liveness and readiness
#   edge                                     what surrounds every request
#   rules                                    what a call may be: URLs, headers, bodies, origin
#   transport                                connections to upstreams
#   forwarding                               a call, from admission to its response
#   pages | server                           pages for people | the ASGI server and its limits
#   settings  urls  asgi  wsgi  checks       entry points: what is started, what Django finds
#   apps  outages  variables  admin            and what the settings name
#   templatetags  account_adapter
#   local -> management                      the stack of `make run` | the commands
