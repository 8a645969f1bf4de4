"""The gateway as a client of an authorization server: who signs in there, and calls through it.

Argument: the URL of the suite's server. It is registered at the gateway as SERVER_NAME, with an
account of everybody's own, or with the credentials that the suite gives. PERSON signs in there as a
browser would, without a page to look at, and calls what the server offers.
"""

import json
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx2

GATEWAY = os.environ["GATEWAY_URL"]
PASSWORD = os.environ["PASSWORD"]
NAME = os.environ["SERVER_NAME"]
SCENARIO = os.environ["MCP_CONFORMANCE_SCENARIO"]
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
# How often somebody signs in again because the server wants more than it had.
PATIENCE = 4


def definition() -> dict[str, Any]:
    """How the server is registered."""
    if SCENARIO.startswith("auth/client-credentials"):
        kind = {"type": "oauth2_client_credentials"}
    else:
        kind = {"type": "oauth"}
    if SCENARIO == "auth/basic-cimd":
        # Only where the gateway has an https URL it is known by a document of its own.
        return {**kind, "client_id": "https://conformance-test.local/client-metadata.json"}
    known = {name: CONTEXT[name] for name in ("client_id", "client_secret") if name in CONTEXT}
    return {**kind, **known}


def sign_in_there(browser: httpx2.Client, token: str) -> None:
    """Follows the way to whoever gives tokens and back, as a browser does."""
    office = {"Authorization": f"Bearer {token}"}
    begun = browser.post(f"{GATEWAY}/auth/links", headers=office, json={"server": NAME})
    assert begun.is_success, begun.text
    there = httpx2.get(begun.json()["data"]["url"], follow_redirects=False, timeout=10)
    assert there.is_redirect, f"{there.status_code} {there.text}"
    back = urlsplit(there.headers["location"])
    # The cookie is the gateway's under the one name it was given.
    done = browser.get(urlunsplit(("", "", back.path, back.query, "")))
    print(f"came back: {done.status_code}")
    assert done.is_success, done.text


def call(token: str, method: str, params: dict[str, Any]) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    office = {"Authorization": f"Bearer {token}"}
    said = httpx2.post(f"{GATEWAY}/rpc", headers=office, json=body, timeout=20).json()
    print(f"{method}: {json.dumps(said)[:300]}")
    return said


def wants_sign_in(said: Any) -> bool:
    return f"/oauth/servers/{NAME}" in json.dumps(said)


def tools(token: str) -> list[str]:
    """The tools of the server, once the gateway has asked for them."""
    for _ in range(20):
        listed = call(token, "tools/list", {}).get("result", {}).get("tools", [])
        found = [tool["name"] for tool in listed if tool["name"].startswith(f"{NAME}__")]
        if found:
            return found
        time.sleep(0.1)
    return []


def main() -> None:
    url = sys.argv[-1]
    admin = {"Authorization": f"Bearer {os.environ['GATEWAY_KEY']}"}
    form = {"name": NAME, "url": url, "auth": definition()}
    with httpx2.Client(base_url=GATEWAY, timeout=20) as browser:
        made = browser.post("/gateway/servers?wait=true", headers=admin, json=form)
        assert made.is_success, made.text
        print(f"registered: {made.text}")
        try:
            login = {"username": os.environ["PERSON"], "password": PASSWORD}
            token = browser.post("/auth/login", json=login).json()["access_token"]
            page = {"Sec-Fetch-Site": "same-origin"}
            signed_in = browser.post("/auth/login", headers=page, json={**login, "cookie": True})
            assert signed_in.is_success, signed_in.text
            if form["auth"]["type"] == "oauth":
                sign_in_there(browser, token)
            found = tools(token)
            if not found and form["auth"]["type"] == "oauth":
                # Whoever gives the tokens may be another now.
                sign_in_there(browser, token)
                found = tools(token)
            for name in found:
                for _ in range(PATIENCE):
                    said = call(token, "tools/call", {"name": name, "arguments": {}})
                    if not wants_sign_in(said):
                        break
                    sign_in_there(browser, token)
            assert found, "there are no tools"
        finally:
            browser.delete(f"/gateway/servers/{NAME}", headers=admin).raise_for_status()


main()
