"""The result of every client after each disturbance: it continues, or asks for one sign-in.

The same for all: what is over is asked for once more, and nothing else is. A client that does
worse by a fault of its own would need a line of its own here, with the reason; none does.
"""

GOES_ON = "goes on"
AT_SECOND_TRY = "goes on at the second try"
ASKS_ONCE = "asks once"

EXPECTED = {
    "from nothing": ASKS_ONCE,
    "access token expired": GOES_ON,
    "provider's token expired": GOES_ON,
    "gateway killed": GOES_ON,
    "SECRET_KEY rotated": GOES_ON,
    "KMS key moved": GOES_ON,
    "store away for 30 s": GOES_ON,
    "grant ended by the person": ASKS_ONCE,
    "provider's grant dead": ASKS_ONCE,
}
