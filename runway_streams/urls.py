"""URLs: which of them may be trusted."""

from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_safe_url(url: str) -> bool:
    """Whether what comes from there is what its owner sent: by https, or from this machine.

    >>> [is_safe_url(url) for url in ("https://a/b", "http://127.0.0.1:80/", "http://a/b", "https://", "a", "https://[")]
    [True, True, False, False, False, False]
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK))
