"""Decides who may sign in, from what a provider says about an account.

The rule itself is `oauth.access_rule`. `claims` and `provider_api` read what a provider says,
`decision` applies the rule, and `explanation` puts a decision into words.
"""
