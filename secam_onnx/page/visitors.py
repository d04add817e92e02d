"""Who may ask a server on this machine: not a web page of another site, nor one whose name was made to lead here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence

__all__ = ["LOOPBACK", "ForeignPageError", "WrongHostError", "check_host", "check_page", "host_name"]

LOOPBACK = frozenset({"localhost"})
"""Names that lead to this machine from nowhere else; addresses are taken as they are."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}?)\.?(?::(\d{1,5}))?")
_SHOWN = 80


class WrongHostError(Exception):
    """The request was meant for a host of another name."""


class ForeignPageError(Exception):
    """A web page of another site sent the request."""


def host_name(host: str) -> str | None:
    """The name in a `Host` header, in lower case, without port and final dot; None if it is not one."""
    match = _HOST.fullmatch(host)
    return match[1].lower() if match else None


def check_host(given: Sequence[str], allowed: Collection[str], advice: str = "") -> None:
    """Refuse a request for a host of another name.

    A page can make its own name lead to this machine and is then of the same origin in its browser's eyes (DNS
    rebinding). The `Host` header still has its name. An address needs no name and cannot be made to lead elsewhere.

    Parameters
    ----------
    given : sequence of str
        The request's `Host` headers.
    allowed : collection of str
        Names in lower case; `*` allows all.
    advice : str
        What to do, for the message; `{name}` stands for the name.

    Raises
    ------
    WrongHostError
        Another host is named, or none, or several.
    """
    if "*" in allowed:
        return
    name = host_name(given[0]) if len(given) == 1 else None
    if name is None:
        found = ", ".join(given)[:_SHOWN]
        raise WrongHostError(f"Host is {found!a}; one name or address was expected, as in localhost:8080.")
    if name not in allowed and not _is_address(name.strip("[]")):
        raise WrongHostError(
            f"{name[:_SHOWN]!r} is no name of this server. {advice.format(name=name[:_SHOWN])}".rstrip()
        )


def check_page(method: str, host: str, header: Callable[[str], str | None], *, is_page: bool) -> None:
    """Refuse what a web page of another site sent.

    Browsers say so in `Sec-Fetch-Site`, or in `Origin` where the connection is not secure; other clients send neither.

    Parameters
    ----------
    method, host : str
        The request's method and `Host`.
    header : callable
        The value of a header by its name in lower case, or None.
    is_page : bool
        Whether it asks for the page itself, to which other sites may link.

    Raises
    ------
    ForeignPageError
        Another site sent it.
    """
    site, origin = header("sec-fetch-site"), header("origin")
    if site is not None:
        if site in ("same-origin", "none"):
            return
        followed = header("sec-fetch-mode") == "navigate" and header("sec-fetch-dest") == "document"
        if is_page and followed and method == "GET":
            return
    elif origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return
    raise ForeignPageError(
        "A web page of another site sent this request, and this server answers only its own page and other programs. "
        "Open the page of this server itself; behind a proxy, let that pass the Host header on."
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
