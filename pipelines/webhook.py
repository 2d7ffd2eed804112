"""One POST to a webhook: signed, to a checked address, bounded in time and size.

The URL of a chat's webhook is a secret, as a key is: it comes from the environment, and no message says more
of it than that it is the receiver's.
"""

import hashlib
import hmac
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, quote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from blockscan.chains.limits import retry_after
from blockscan.errors import ConfigError, ReceiverError

URL, SECRET = "BLOCKSCAN_WEBHOOK_URL", "BLOCKSCAN_WEBHOOK_SECRET"
SECONDS = 15.0
"""From the open connection to the head of the answer."""
_CONNECT_SECONDS = 5.0
_MOST_ADDRESSES = 3
_UNICAST = ip_network("2000::/3")


@dataclass(frozen=True, slots=True, repr=False)
class Webhook:
    """Where alerts go. `path` has the query; `tls` is None for http; without a `secret` nothing is signed."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    secret: bytes
    allow_private: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said: an HTTP status, and the seconds that it asks to wait, 0 if none."""

    status: int
    after: float = 0.0


class NoAnswer(Exception):
    """The receiver could not be asked, or said nothing that is HTTP; another attempt may mend it."""


def read_webhook(environment: Mapping[str, str], *, allow_private: bool) -> Webhook:
    """The webhook that the environment names.

    Raises:
        ConfigError: it names none, or no http(s) URL; the URL is not in the message.
    """
    url = environment.get(URL, "").strip()
    if not url:
        raise ConfigError(f"give the receiver's URL in the environment variable {URL}")
    parts = _usable(url)
    if parts is None:
        raise ConfigError(
            f"{URL} holds no usable URL: give one that begins with https:// or http:// and a host, in ASCII, "
            "without blanks and without a user"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = _certificates() if parts.scheme == "https" else None
    secret = environment.get(SECRET, "").encode(errors="surrogateescape")  # as os.environ has read its bytes
    port = parts.port or (80 if tls is None else 443)
    return Webhook(parts.hostname or "", port, path, tls, secret, allow_private)


def post(to: Webhook, body: bytes, key: str, *, now: int) -> Answer:
    """Send a JSON body once; redirects are not followed, and of the answer only the head is read.

    Args:
        to: the receiver.
        body: JSON.
        key: the same for every attempt to send the same event, and for no other.
        now: Unix seconds, which are signed with the body.

    Raises:
        NoAnswer: another attempt may mend it.
        ReceiverError: the receiver's name stands for an address that is not public.
    """
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "blockscan",
        "Idempotency-Key": quote(key, safe=":"),
        "X-BlockScan-Timestamp": str(now),
    }
    if to.secret:
        headers["X-BlockScan-Signature"] = f"sha256={signature(to.secret, str(now), body)}"
    try:
        with _connected(to) as connection:
            connection.request("POST", to.path, body, headers)
            with closing(connection.getresponse()) as response:
                return Answer(response.status, retry_after(response.getheader("Retry-After")))
    except (OSError, HTTPException) as error:  # their texts may quote the URL
        raise NoAnswer(f"no answer ({type(error).__name__})") from None


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over the timestamp, a dot and the body, in hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _usable(url: str) -> SplitResult | None:
    """The parts of a URL to which a request can be sent."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")  # refuses labels that are empty or too long
    except ValueError:
        return None
    plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    return parts if parts.scheme in ("http", "https") and host and port != 0 and plain else None


@contextmanager
def _connected(to: Webhook) -> Iterator[HTTPConnection]:
    """A connection to one of the addresses that were checked, cut off when its time is up."""
    with closing(_open(_addresses(to), to.port)) as plain, closing(plain.dup()) as handle:
        timer = threading.Timer(SECONDS, _cut, (handle,))  # else one byte now and then holds it for hours
        timer.daemon = True
        timer.start()
        try:
            if to.tls is None:
                connection = HTTPConnection(to.host, to.port)
                connection.sock = plain
            else:
                connection = HTTPSConnection(to.host, to.port, context=to.tls)
                connection.sock = to.tls.wrap_socket(plain, server_hostname=to.host)
            with closing(connection):
                yield connection
        finally:
            timer.cancel()


def _addresses(to: Webhook) -> list[str]:
    """The first addresses of the receiver, all of them public unless others are allowed."""
    found = [str(each[4][0]) for each in socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)]
    if not to.allow_private and not all(map(_is_public, found)):
        raise ReceiverError(
            f"the host in {URL} has an address that is not public (private, loopback, link-local or so): "
            "nothing was sent; if it is the receiver's, give --allow-private"
        )
    return found[:_MOST_ADDRESSES]


def _open(addresses: Sequence[str], port: int) -> socket.socket:
    """A connection to the first address that takes one; no name is looked up again."""
    failure = OSError("no address")
    for address in addresses:
        try:
            opened = socket.create_connection((address, port), timeout=_CONNECT_SECONDS)
        except OSError as error:
            failure = error
        else:
            opened.settimeout(SECONDS)
            return opened
    raise failure


def _cut(handle: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        handle.shutdown(socket.SHUT_RDWR)


def _is_public(text: str) -> bool:
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(str(address.ipv4_mapped))
        # Beyond these and among 6to4's are addresses that a gateway may turn into private ones of IPv4.
        return address in _UNICAST and address.is_global and address.sixtofour is None
    return address.is_global and not address.is_multicast


def _certificates() -> ssl.SSLContext:
    """Certificates are checked against those of the system and those that nodes' are checked against."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context
