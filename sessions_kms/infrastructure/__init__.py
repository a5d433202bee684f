"""The infrastructure of a session store, as templates that an operator deploys.

`store` says what it is called and `policies` who may do what; table and key are what
`provisioning` makes. `cloudformation`, `terraform` and `iam_policy` write it in three languages.
"""
