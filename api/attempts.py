"""Attempts: how many wrong credentials came from an address within a minute."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from runway_streams.times import MINUTE

MAX_FAILURES = 100
"""Wrong credentials of an address a minute."""
MAX_ADDRESSES = 10_000


class FailedAttempts:
    """Counts by address and minute, for 10,000 addresses, those that failed longest ago giving way."""

    def __init__(self, now: Callable[[], int]):
        self._now = now
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def add(self, address: str) -> None:
        """Counts one."""
        window, count = self._now() // MINUTE, self._count(address)
        self._counts[place_of(address)] = (window, count + 1)
        self._counts.move_to_end(place_of(address))
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)

    def wait_s(self, address: str) -> int:
        """0, or the seconds until this address may try again."""
        return 0 if self._count(address) < MAX_FAILURES else -(-(MINUTE - self._now() % MINUTE) // 1000)

    def _count(self, address: str) -> int:
        window, count = self._counts.get(place_of(address), (0, 0))
        return count if window == self._now() // MINUTE else 0


def place_of(address: str) -> str:
    """What counts as one address: of IPv6 the network of a customer, who has all addresses in it.

    >>> place_of("10.0.0.1"), place_of("2001:db8::1:2"), place_of("")
    ('10.0.0.1', '2001:db8::/64', '')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return address if found.version == 4 else str(ipaddress.ip_network((int(found), 64), strict=False))
