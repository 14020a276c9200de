"""URLs: which of them may be trusted, and what of them may be shown."""

import re
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CONTAINER_SCHEMES = ("abfs", "abfss", "wasb", "wasbs")
"""Azure's addresses have the container where others have the user."""


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


def without_secrets(url: str) -> str:
    """An address without what may be secret: user and password, query and fragment.

    >>> without_secrets("https://user:pass@host:8080/models?X-Amz-Signature=1#2"), without_secrets("s3://bucket/a b")
    ('https://host:8080/models', 's3://bucket/a b')
    >>> without_secrets("abfss://container@account.dfs.core.windows.net/x?sig=1")
    'abfss://container@account.dfs.core.windows.net/x'
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at and scheme.lower() in _CONTAINER_SCHEMES:
        host = f"{user.partition(':')[0]}@{host}"
    return f"{scheme}://{host}{slash}{path}"
