"""API key: what is asked for when one is made, and what is told of it; the key itself is told once."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Role = Literal["reader", "owner", "operator", "admin"]
KeyTeam = Annotated[str, Meta(min_length=1, max_length=128)]


class NewApiKey(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A key to be made. A key of the role owner names the teams whose models it may write; others name none."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    role: Role
    teams: Annotated[list[KeyTeam], Meta(max_length=100)] = []
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
