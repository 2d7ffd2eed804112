"""Keeps the keys in RPC URLs out of logs, errors, stores and pages.

Providers put keys into the user part, the path and the query of a URL. `redact` shows a URL without
them; `guard` makes the loggers of the HTTP libraries, which print request paths, drop them too.
"""

import logging
import re
from urllib.parse import unquote, urlsplit

HIDDEN = "…"
_LOGGERS = (
    "urllib3.connectionpool",
    "urllib3.connection",
    "urllib3.util.retry",
    "requests",
    "web3.providers.HTTPProvider",
    "web3.providers.base",
    "web3.RequestManager",
    "web3._utils.http_session_manager.HTTPSessionManager",
)
# Path segments that name a service, not a customer.
_COMMON = {"api", "ext", "eth", "evm", "rpc", "json", "mainnet", "main", "http", "https", "public"}
_SHORTEST = 3

_secrets: set[str] = set()


def redact(url: str) -> str:
    """The URL without user, password, path, query and fragment: the places where providers put keys."""
    try:
        parts = urlsplit(url)
        host, number = parts.hostname or "unknown-host", parts.port
    except ValueError:
        return "an unreadable URL"
    port = f":{number}" if number else ""
    hidden = f"/{HIDDEN}" if parts.path.strip("/") or parts.query or parts.username else ""
    return f"{parts.scheme}://{host}{port}{hidden}"


def scrub(text: str) -> str:
    """Text with every part of a guarded URL that may be a key replaced; nodes echo keys in error texts."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def guard(url: str) -> None:
    """Remember what may be a key in a URL, and filter it from the log records of the HTTP libraries."""
    parts = urlsplit(url)
    values = [parts.username or "", parts.password or "", parts.netloc.rpartition("@")[0]]
    values += [value for field in parts.query.split("&") for value in (field.partition("=")[2], field)]
    values += re.split(r"[/;,]", parts.path)
    values += [parts.path.strip("/"), parts.query]
    for value in values:
        for spelling in (value, unquote(value)):
            if len(spelling) >= _SHORTEST and spelling.lower() not in _COMMON:
                _secrets.add(spelling)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if _drop_keys not in logger.filters:
            logger.addFilter(_drop_keys)


def _drop_keys(record: logging.LogRecord) -> bool:
    """A logging filter: the record's text, scrubbed; exception texts go, since they quote the URL."""
    record.msg, record.args = scrub(record.getMessage()), ()
    record.exc_info = record.exc_text = None
    return True
