"""What these credentials may do: the rights that the engine needs, and those that it does not.

`needed` and `over_grants` tell; both find out by `trying`, which changes nothing.
"""
