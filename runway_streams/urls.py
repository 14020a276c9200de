"""URLs: which of them may be trusted, and what of them may be shown."""

import re
from urllib.parse import urlsplit

import httpx

from runway_streams.errors import ConfigError

MAX_URL = 2_000
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


def server_url(text: str, whose: str, form: str, instead: str) -> str:
    """The one way in which a server's address is written, so that one server has one. Raises ConfigError, which names it as
    `whose`, and says which `form` it has and what to do `instead` where it holds more than an address.

    >>> server_url(" HTTP://Localhost:5000// ", "MLflow's address", "http://HOST:PORT", "Leave it out.")
    'http://localhost:5000'
    """
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or len(text) > MAX_URL:
        raise ConfigError(f"{whose} is not one.", f"Give it as {form}.")
    if url.userinfo or url.query or url.fragment:
        raise ConfigError(f"{whose} holds a user, a query or a fragment.", instead)
    return str(url).rstrip("/")


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
