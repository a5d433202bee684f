"""Who may sign in: what a provider told of an account enters, a refusal or none leaves.

`addresses`, `issuers`, `rule`, `evidence`, `claims` and `decision` know neither Django nor the
network; `github`, `entra` and `gathering` ask, and the other modules act on what was decided.
"""
