"""Certificates: which authorities a connection trusts, and what OpenSSL says of a file, for people."""

import ssl

from runway_streams.errors import ConfigError


def trusted(cafile: str, variable: str) -> ssl.SSLContext:
    """A context that trusts the authorities in a file, or the system's. Raises ConfigError where it cannot be read."""
    try:
        return ssl.create_default_context(cafile=cafile or None)
    except OSError as error:
        raise ConfigError(
            f"{variable} is {cafile!r}, which cannot be read: {reason_of(error)}.", "Give a file of PEM certificates."
        ) from error


def reason_of(error: Exception) -> str:
    """What OpenSSL or the system says, without its numbers.

    >>> reason_of(FileNotFoundError(2, "No such file or directory")), reason_of(ssl.SSLError(116, "[X509] PEM lib (_ssl.c:1)"))
    ('No such file or directory', 'PEM lib')
    """
    text = getattr(error, "strerror", None) or str(error)
    return text.split("] ")[-1].split(" (_ssl")[0]
