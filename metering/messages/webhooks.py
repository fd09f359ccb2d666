"""Webhooks to customers, by Standard Webhooks (https://www.standardwebhooks.com): signed, and sent with care.

Customers choose where we send to. So an address inside our own network is refused after its name was looked
up, the connection goes to the very address that was looked at, and nobody is followed elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

import anyio
import httpx

from metering import __version__
from metering.errors import InvalidParameter

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  (what a secret begins with)
_SECRET_BYTES: Final = 32
_MAX_URL: Final = 2_000
_GONE: Final = 410
_LAST_PORT: Final = 65_535
# All of IPv6 that is of the internet (RFC 4291); the rest leads nowhere, or into networks such as ours.
_INTERNET: Final = ipaddress.IPv6Network("2000::/3")
_NAME: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.?")


class WebhookTry(NamedTuple):
    """The status that was answered, or why there is none, in words for the customer."""

    status: int | None
    failure: str | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the customer has it."""
        return self.status is not None and httpx.codes.is_success(self.status)

    @property
    def is_gone(self) -> bool:
        """Whether the customer wants nothing more there."""
        return self.status == _GONE


def new_secret() -> str:
    """What an endpoint's messages are signed with."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers by which the receiver knows that the message is ours, and new."""
    seconds = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, b".".join((message_id.encode(), seconds.encode(), body)), hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": seconds, "webhook-signature": signature}


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """Posts messages, each within `seconds`; to private addresses only where that is allowed."""

    allows_private: bool = False
    seconds: int = 20
    tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context)

    def send(self, url: str, secret: str, message_id: str, at: datetime, body: bytes) -> WebhookTry:
        """Post the body, signed."""
        headers = {
            **signed(secret, message_id, at, body),
            "content-type": "application/json",
            "user-agent": f"metering/{__version__}",
        }
        return anyio.run(self._send, httpx.URL(url), headers, body)

    async def _send(self, url: httpx.URL, headers: dict[str, str], body: bytes) -> WebhookTry:
        try:
            # All of it: a receiver that answers a byte at a time would outlast any other limit.
            with anyio.fail_after(self.seconds):
                return await self._post(url, headers, body)
        except TimeoutError:
            return WebhookTry(None, f"No answer within {self.seconds} seconds.")
        except socket.gaierror:
            return WebhookTry(None, "The host's name is not known.")
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            return WebhookTry(None, f"No answer: {str(error) or type(error).__name__}.")

    async def _post(self, url: httpx.URL, headers: dict[str, str], body: bytes) -> WebhookTry:
        host, port = url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        if not self.allows_private and not all(map(is_public, addresses)):
            return WebhookTry(None, "The host's address is not public.")
        there = url.copy_with(host=addresses[0])
        headers["host"] = url.netloc.decode("ascii")
        async with (
            httpx.AsyncClient(verify=self.tls, trust_env=False, timeout=self.seconds) as client,
            # The certificate must be of the name, whatever the address.
            client.stream(
                "POST", there, content=body, headers=headers, extensions={"sni_hostname": host}
            ) as answer,
        ):
            status = answer.status_code
        return WebhookTry(status, None if answer.is_success else f"The answer was {status}.")


def check_url(url: str, *, allows_private: bool) -> str:
    """The URL as it is kept; raises `InvalidParameter` where we would never send there."""
    try:
        parsed = httpx.URL(url)
        host = ipaddress.ip_address(parsed.host) if _is_address(parsed.host) else None
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidParameter("must be a URL", param="url") from error
    is_named = host is not None or _NAME.fullmatch(parsed.raw_host.decode("ascii"))
    if not is_named or (parsed.port or 0) > _LAST_PORT:
        raise InvalidParameter("must be a URL", param="url")
    if parsed.scheme not in ({"https", "http"} if allows_private else {"https"}):
        raise InvalidParameter("must be a URL that begins with https://", param="url")
    if parsed.userinfo or parsed.fragment or len(url) > _MAX_URL:
        told = f"must have no password and no fragment, and at most {_MAX_URL:,} characters"
        raise InvalidParameter(told, param="url")
    if host is not None and not allows_private and not is_public(str(host)):
        raise InvalidParameter("must be at a public address", param="url")
    return str(parsed)


def is_public(address: str) -> bool:
    """Whether an IP address is of the internet, also where it is an IPv4 address in disguise."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1] or _translated(ip)
        ip = inner or ip
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _INTERNET:
        return False
    return ip.is_global and not ip.is_multicast


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which a network translates it (RFC 6052's well-known prefix)."""
    is_translated = ip in ipaddress.IPv6Network("64:ff9b::/96")
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if is_translated else None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
