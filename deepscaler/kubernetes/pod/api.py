"""Asks the API server for RayJobs of one namespace from inside a pod, over HTTPS and with the pod's own account.

GET    /apis/ray.io/v1/namespaces/deepscaler/rayjobs/chain-mine-train-8k    200, 404
POST   /apis/ray.io/v1/namespaces/deepscaler/rayjobs                        201, 409 if it exists already
DELETE /apis/ray.io/v1/namespaces/deepscaler/rayjobs/chain-mine-train-8k    200, 404

The image holds no kubectl, and three requests need no package of their own.
"""

import json
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from deepscaler.system.errors import UserError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which the kubelet puts the account's token and the API server's certificate."""

SECONDS = 30.0
"""Seconds that one request may take."""

WAITS = (1.0, 60.0)
"""Seconds before a retry after the first failure, and the most seconds; the wait doubles in between."""

TRANSIENT = (401, 408, 429, 500, 502, 503, 504)
"""Status codes after which the same request may succeed; 401 occurs while the kubelet replaces an expired token."""

CONFLICT, NOT_FOUND = 409, 404


class RefusedError(UserError):
    """Signals that the API server has refused a request, and that a retry would not help."""


def server_of_pod() -> str:
    """Returns the URL of the API server from a pod's environment. Raises UserError outside of a cluster."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host:
        raise UserError(
            "this is not a pod of a cluster: give --server URL, such as http://127.0.0.1:8001 of kubectl proxy"
        )
    # An IPv6 address stands in brackets before a port.
    return f"https://{f'[{host}]' if ':' in host else host}:{port or 443}"


class RayJobs:
    """Reads and changes the RayJobs of one namespace, repeating requests until the API server answers."""

    def __init__(self, server: str, namespace: str, account: Path, say: Callable[[str], None]) -> None:
        self._url = f"{server.rstrip('/')}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self._account = account
        self._say = say

    def find(self, name: str) -> dict[str, Any] | None:
        """Returns a RayJob; None if there is none of that name. Raises RefusedError."""
        return self._ask("GET", f"/{name}", missing=NOT_FOUND)

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Creates a RayJob unless it exists, as after an answer that was lost on the way. Raises RefusedError."""
        self._ask("POST", "?fieldManager=deepscaler-chain", manifest, missing=CONFLICT)

    def delete(self, name: str) -> None:
        """Deletes a RayJob and its pods, which end after this returns. Raises RefusedError."""
        self._ask("DELETE", f"/{name}?propagationPolicy=Background", missing=NOT_FOUND)

    def _ask(self, method: str, path: str, body: Any = None, *, missing: int) -> dict[str, Any] | None:
        """Returns the answer; None for the code `missing`."""
        wait, longest = WAITS
        while True:
            try:
                return self._once(method, path, body)
            except HTTPError as error:
                if error.code == missing:
                    return None
                said = _said(error)
                if error.code not in TRANSIENT:
                    raise RefusedError(f"the API server refuses {method} {self._url}{path}: {said}") from None
            except (OSError, HTTPException, ValueError) as error:  # no connection, a deadline, half an answer
                said = str(error) or type(error).__name__
            self._say(f"The API server did not answer {method} ({said}): asking again in {wait:g} s.")
            time.sleep(wait)
            wait = min(2 * wait, longest)

    def _once(self, method: str, path: str, body: Any) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        token, certificate = self._account / "token", self._account / "ca.crt"
        if token.is_file():  # read each time: the kubelet exchanges it every hour
            headers["Authorization"] = f"Bearer {token.read_text(encoding='ascii').strip()}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310  the server's
        context = ssl.create_default_context(cafile=str(certificate)) if certificate.is_file() else None
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # a proxy for the hub is none for the cluster's own address
            urllib.request.HTTPSHandler(context=context),
        )
        with opener.open(request, timeout=SECONDS) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found


def _said(error: HTTPError) -> str:
    """Returns the message of a Status object, or the status line of the answer."""
    try:
        return f"{error.code} {json.loads(error.read())['message']}"
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
