"""Principal: who makes a request, and what they may do."""

from dataclasses import dataclass
from typing import Literal

from runway_streams.registry.keys import ROLES
from schemas.api_key import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` stands in the audit log: `key:PREFIX` or `oidc:SUBJECT`. `teams` are those whose models an owner may write."""

    name: str
    role: Role
    teams: tuple[str, ...]
    kind: Literal["key", "oidc"]

    def has(self, role: Role) -> bool:
        """Whether it may do what this role may.

        >>> Principal("key:a", "operator", (), "key").has("owner"), Principal("key:a", "reader", (), "key").has("owner")
        (True, False)
        """
        return ROLES.index(self.role) >= ROLES.index(role)

    def writes_for(self, team: str) -> bool:
        """Whether it may write models of this team.

        >>> Principal("key:a", "owner", ("risk",), "key").writes_for("ads")
        False
        """
        return self.has("operator") or (self.has("owner") and team in self.teams)


class Rejected(Exception):
    """A credential that is no good (401), or good but without a role (403), with a sentence that says so to its holder."""

    def __init__(self, status: Literal[401, 403], sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
