"""Asks the hub and other servers whether they answer and know a token, of which nothing is printed."""

import json
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from deepscaler.data.fetch import hub_token, is_offline
from deepscaler.doctor.finding import Finding
from deepscaler.system.files import text_of
from deepscaler.system.paths import hub_home

SECONDS = 4.0
"""Seconds for a server to answer."""


def to_hub(address: str) -> urllib.request.Request:
    """Returns a request to the hub, with the token if there is one."""
    token = hub_token() or text_of(hub_home() / "token")
    headers = {"User-Agent": "deepscaler"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return urllib.request.Request(address, headers=headers)  # noqa: S310  the user's own endpoint


def fetched(name: str, what: str, server: str, fix: str) -> Finding:
    """Returns whether something can be fetched from a server; `what` says what is not here."""
    if is_offline():
        return Finding(name, "fail", f"{what}, and HF_HUB_OFFLINE is set", fix)
    address = urlsplit(server)
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        with socket.create_connection((address.hostname or "", port), SECONDS):
            return Finding(name, "pass", f"{what}; {address.hostname} answers")
    except OSError as error:
        # A time that is over has no strerror.
        why = error.strerror or str(error)
        return Finding(name, "warn", f"{what}, and {address.hostname} does not answer ({why})", fix)


def asked(name: str, request: urllib.request.Request, fix: str) -> Finding:
    """Returns what a server says of a token; the evidence holds nothing of it."""
    host = urlsplit(request.full_url).hostname
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
            # Bounded: the server's name comes from a variable, and what it sends need not be an answer.
            answer = json.loads(reply.read(1 << 20) or b"{}")
    # Before OSError, which an HTTPError is, too.
    except urllib.error.HTTPError as error:
        refused = error.code in (401, 403)
        return Finding(name, "fail" if refused else "warn", f"{host} answers {error.code}", fix)
    except OSError:
        return Finding(name, "warn", f"{host} was not reached: nobody knows whether it is valid", fix)
    except ValueError:
        return Finding(name, "warn", f"{host} answers no JSON: nobody knows whether it is valid", fix)
    # GraphQL answers 200 to a key that it does not know, with a viewer that is null.
    if isinstance(answer, dict) and "data" in answer and not (answer["data"] or {}).get("viewer"):
        return Finding(name, "fail", f"{host} does not know it", fix)
    return Finding(name, "pass", f"{host} takes it")
