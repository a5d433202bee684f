"""The gateway: a Django project that signs people in and calls upstreams with their tokens."""

# The rooms, from left to right: each imports only from those before it (`.importlinter`).
#
#   environment                              variables, read once
#   providers                                OAuth providers by environment
#   health                                   is this process to be sent requests?
#   edge                                     what surrounds every request
#   rules                                    what a call may be: URLs, headers, cookies, bodies
#   transport                                connections to upstreams
#   forwarding                               a call, from admission to its answer
#   pages | server                           what people see | the ASGI server and its bounds
#   settings  urls  asgi  wsgi  middleware   the doors: what is started,
#   checks  apps  outages  variables           and what Django finds
#   admin  runserver_check  templatetags
#   account_adapter  messages  storage         classes that the settings name
#   local -> management                      the stack of `make run` | the commands
