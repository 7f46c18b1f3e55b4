"""The proxy that the environment names for a URL, and the hosts that NO_PROXY excepts."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address, ip_network

from .exceptions import InvalidURL
from .proxy import ProxyAgent, SourceAddress, agent_for
from .url import WebSocketURL

_VARIABLES = {
    "ws": ("ws_proxy", "all_proxy", "socks_proxy", "https_proxy", "http_proxy"),
    "wss": ("wss_proxy", "all_proxy", "socks_proxy", "https_proxy"),
}
"""In which order the variables count: what is meant for WebSockets, for anything, and for other protocols."""


def environment_agent(url: WebSocketURL, source_address: SourceAddress = None) -> ProxyAgent | None:
    """The agent for the proxy that the environment names for this URL; None where it names none, or excepts the host.

    Raises InvalidURL, which tells the variable, where its value is no proxy's URL.
    """
    if is_excepted(url.host, url.port, os.environ.get(_spelled("no_proxy"), "")):
        return None
    for variable in map(_spelled, _VARIABLES[url.scheme]):
        proxy = os.environ.get(variable)
        if proxy:
            try:
                return agent_for(proxy, source_address)
            except (InvalidURL, ValueError) as error:
                raise InvalidURL(f"{variable} in the environment is not a proxy's URL: {error}") from error
    return None


def is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Whether a list such as ``localhost, .example.com, 10.0.0.0/8`` has the host.

    A name stands for itself and for what is in its domain, with a dot or ``*.`` in front too; an address for itself,
    also in brackets; a network for its addresses; ``*`` for all. A colon and a port may follow. Names are compared
    without regard to case; commas and spaces separate the list.
    """
    host = host.partition("%")[0].removesuffix(".").lower()
    return any(_has(entry.lower(), host, port) for entry in re.split(r"[,\s]+", exceptions) if entry)


def _spelled(variable: str) -> str:
    """A variable in lower case, which counts even if it is empty, or else in upper case.

    A web server that runs a CGI program sets HTTP_PROXY to what its client sent as the header Proxy.
    """
    is_set_by_client = variable == "http_proxy" and "REQUEST_METHOD" in os.environ
    return variable if variable in os.environ or is_set_by_client else variable.upper()


def _has(entry: str, host: str, port: int) -> bool:
    name, only_port = _split_port(entry)
    if only_port not in ("", str(port)):
        return False
    if name == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        domain = name.removeprefix("*").strip(".")
        return domain != "" and f".{host}".endswith(f".{domain}")
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str]:
    """The name, address or network, and the port or an empty string."""
    if entry.startswith("["):
        address, _, port = entry[1:].partition("]")
        return address, port.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
