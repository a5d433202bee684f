"""The operations on aliases."""

from __future__ import annotations

from dataclasses import replace

from .errors import KMSError, invalid
from .keys import Alias
from .protocol import Answer, Call, operation, page, require_not_pending

PATTERN = "[a-zA-Z0-9:/_-]+"


@operation("CreateAlias")
def create_alias(call: Call) -> Answer:
    name = _name(call)
    if name.startswith("alias/aws/"):
        raise KMSError("NotAuthorizedException", "alias/aws/ is reserved for AWS.")
    if ":" in name:
        raise invalid(f"{name} contains invalid characters for an alias")
    if name == "alias/":
        raise KMSError("InvalidAliasNameException", "The alias has no name after alias/.")
    key = call.alias_target("CreateAlias")
    require_not_pending(key)
    alias = Alias(key.account, key.region, name, key.key_id, call.now, call.now)
    if call.store.alias(key.account, key.region, name):
        raise KMSError(
            "AlreadyExistsException", f"An alias with the name {alias.arn} already exists"
        )
    with call.store.transaction():
        call.store.put_alias(alias)
    return {}


@operation("UpdateAlias")
def update_alias(call: Call) -> Answer:
    alias = _alias(call, "UpdateAlias")
    key = call.alias_target("UpdateAlias")
    require_not_pending(key)
    with call.store.transaction():
        call.store.put_alias(replace(alias, key_id=key.key_id, updated=call.now))
    return {}


@operation("DeleteAlias")
def delete_alias(call: Call) -> Answer:
    alias = _alias(call, "DeleteAlias")
    with call.store.transaction():
        call.store.delete_alias(alias)
    return {}


@operation("ListAliases")
def list_aliases(call: Call) -> Answer:
    aliases = call.store.aliases(call.caller.account, call.caller.region)
    if call.parameters.text("KeyId") is not None:
        key_id = call.key("ListAliases").key_id
        aliases = [alias for alias in aliases if alias.key_id == key_id]
    found, paging = page(call, aliases, lambda alias: alias.name, limit=50)
    return {"Aliases": [_entry(alias) for alias in found], **paging}


def _entry(alias: Alias) -> Answer:
    return {
        "AliasName": alias.name,
        "AliasArn": alias.arn,
        "TargetKeyId": alias.key_id,
        "CreationDate": alias.created,
        "LastUpdatedDate": alias.updated,
    }


def _alias(call: Call, action: str) -> Alias:
    """Return the alias that is named, if the key it names now allows the action."""
    alias = call.alias(_name(call))
    key = call.store.key(alias.account, alias.region, alias.key_id)
    if key is not None and not call.allowed(key, action):
        raise call.denied(action, f"resource: {key.arn}")
    return alias


def _name(call: Call) -> str:
    name = call.parameters.required_text("AliasName", maximum=256, pattern=PATTERN)
    if not name.startswith("alias/"):
        raise invalid("Invalid identifier")
    return name
