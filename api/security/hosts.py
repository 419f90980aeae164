"""Names of this machine, and the syntax of the headers `Host` and `Origin`."""

import ipaddress
import re

# RFC 9112, section 3.2: a name or an address, and an optional port.
HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:\d*)?")
# RFC 6454, section 6.2.
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[^\[\]]+\]|[^\[\]:/?#@\s]+)(:\d+)?")
DEFAULT_PORTS = {("http", ":80"), ("https", ":443")}  # which browsers leave out


def is_loopback(name: str) -> bool:
    """Return whether a host name or an address is the loopback interface."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def is_loopback_url_host(host: str) -> bool:
    """Return whether browsers resolve the host of a URL to the loopback interface (RFC 6761)."""
    return is_loopback(host.strip("[]")) or host.endswith(".localhost")


def is_loopback_host(header: str) -> bool:
    """Return whether a `Host` header names this machine, with any port."""
    match = HOST.fullmatch(header.lower())
    return match is not None and is_loopback_url_host(match[1])


def is_loopback_origin(header: str) -> bool:
    """Return whether an `Origin` header is a page that this machine serves."""
    match = ORIGIN.fullmatch(header.lower())
    return match is not None and match[1] in ("http", "https") and is_loopback_url_host(match[2])


def parse_origin(text: str) -> str:
    """Return an origin as browsers write it; "*" and "null" are also valid.

    Raises ValueError for a path, which an origin does not have, and for a default port.
    """
    origin = text.lower()
    if origin in ("*", "null"):
        return origin
    match = ORIGIN.fullmatch(origin)
    if match is None or (match[1], match[3]) in DEFAULT_PORTS:
        raise ValueError(f"must be scheme://host[:port] without a default port, got {text!r}")
    return origin
