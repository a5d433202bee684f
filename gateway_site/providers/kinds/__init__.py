"""What providers do otherwise than the rest: one module for each of them."""

from gateway_site.providers.kinds.github import GitHub
from gateway_site.providers.kinds.google import Google
from gateway_site.providers.kinds.kind import Kind
from gateway_site.providers.variables import Variables

# The names that are known: such a provider's addresses are built in.
BY_NAME: dict[str, type[Kind]] = {"github": GitHub, "google": Google}


def kind_of(variables: Variables) -> Kind:
    """Return the kind of the provider that these variables configure."""
    return BY_NAME.get(variables.name, Kind)(variables)
