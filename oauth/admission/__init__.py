"""Who may sign in: what a provider told of an account enters, a refusal or none leaves.

The rule and the decision itself stand in `oauth.access_rule`. `gathering`, `github` and `entra`
ask, by `asking`; `admitting` acts on what was decided, and `explaining` puts it into words.
"""
