"""Ports: whether one can be listened on, asked before anything is started."""

import asyncio
import errno
import os

from runway_streams.errors import ConfigError


async def check_free(host: str, port: int, setting: str) -> None:
    """Raises ConfigError where nobody can listen on this port of this address now; `setting` gives another port."""
    try:
        # As uvicorn binds it, so that both come to the same answer for a name with several addresses.
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as error:
        raise _refusal(host, port, setting, error) from error
    server.close()


def _refusal(host: str, port: int, setting: str, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"Port {port} on {host} is taken.", f"Stop what listens there, or give another with {setting}.")
    # asyncio tells of its own doings around the system's words; a name that is not found has no number of the system's.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return ConfigError(f"Port {port} on {host} cannot be listened on: {why}.", "Give an address of this machine.")
