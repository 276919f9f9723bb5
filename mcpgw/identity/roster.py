"""Whether people who voted are still who they were: `ports.Roster` over the API keys of the folder."""

import logging
import time
from collections.abc import Callable

from mcpgw.core.errors import ConfigError
from mcpgw.core.members import is_one_of
from mcpgw.core.model import IdentityKind
from mcpgw.identity.api_keys import ApiKeys
from mcpgw.identity.key_record import ISSUER
from mcpgw.ports import CastVote

logger = logging.getLogger(__name__)


class KeyRoster:
    """What the key file says now of those who voted with a key: revoked, expired, or without the group means out.

    Of people whom an identity provider vouched for, nothing newer is known than what their token said when they voted: there
    is no way to ask that every provider has. Their votes count as they were cast; `max_auth_age` bounds for how long.
    """

    def __init__(self, keys: ApiKeys, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock

    def still(self, vote: CastVote) -> frozenset[str]:
        """`ports.Roster.still`."""
        issuer, _, _ = vote.voter.partition("#")
        if issuer != ISSUER:
            return frozenset(vote.fits)
        try:
            records = {record.id: record for record in self._keys.records()}
        except ConfigError as error:
            logger.error("no vote given with an API key counts: %s", error)
            return frozenset()
        record = records.get(vote.credential_id)
        if record is None or record.revoked or record.expired(self._clock()) or record.kind is not IdentityKind.HUMAN:
            return frozenset()
        person = record.identity(vote.method)
        if person.principal != vote.voter:
            return frozenset()
        return frozenset(entry for entry in vote.fits if is_one_of(person, entry))
