"""What providers do otherwise than the rest: one module for each of them."""

from gateway_site.providers.kinds.apple import Apple
from gateway_site.providers.kinds.cognito import Cognito
from gateway_site.providers.kinds.entra import Entra
from gateway_site.providers.kinds.github import GitHub
from gateway_site.providers.kinds.google import Google
from gateway_site.providers.kinds.kind import Kind
from gateway_site.providers.kinds.plain import Plain
from gateway_site.providers.variables import ProviderVariables

# The names that are known: such a provider's addresses are built in.
BY_NAME: dict[str, type[Kind]] = {"apple": Apple, "github": GitHub, "google": Google}
BY_ADDRESS = (Entra, Cognito, Plain)


def kind_of(variables: ProviderVariables) -> Kind:
    """Return the kind of the provider that these variables configure."""
    if variables.name in BY_NAME:
        return BY_NAME[variables.name](variables)
    found = next((each for each in BY_ADDRESS if each.is_meant(variables)), Kind)
    return found(variables)
