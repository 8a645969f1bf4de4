"""A real client and a real browser: a person signs in, consents, and takes it back.

The Python SDK registers itself with its own OAuth provider, and sends its person to the gateway in
Chromium. Then a page of somebody else tries to get leave in that person's name.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from browser import Browser
from gateway import Gateway
from process import ROOT, TOOLS, kill, until

PASSWORD = "a passphrase of some length"
CALL = ["tools/call", {"name": "tollhouse__current_time", "arguments": {}}]
ALLOW = "button[value=allow]"


class Client:
    """The client in a process of its own, spoken to line by line."""

    def __init__(self, url: str, log: Path) -> None:
        words = [TOOLS / "python-2/bin/python", ROOT / "tests/clients/oauth_2.py", url]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def send(self, request: list[Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def hear(self, member: str) -> Any:
        """What it says next, which must be of this kind."""
        assert self.process.stdout
        said = json.loads(self.process.stdout.readline())
        assert member in said, f"{member} was expected: {said}"
        return said[member]

    def ask(self, request: list[Any]) -> Any:
        self.send(request)
        return self.hear("result")


def consents(gateway: Gateway) -> list[dict[str, Any]]:
    return json.loads(gateway.command("consent", "list", "--user", "admin", "-o", "json"))


@contextmanager
def evil(url: str) -> Iterator[str]:
    """A site of somebody else: `/frame` shows our page in a frame, `/post` sends our form."""
    pages = {
        "/frame": f'<iframe src="{url}"></iframe>',
        "/post": f'<form method="post" action="{url}"><input name="decision" value="allow">'
        "</form><script>document.forms[0].submit()</script>",
    }

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path, "").replace("&", "&amp;").encode()
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        # By another name than the gateway's, so that it is another site.
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()


def sign_in(gateway: Gateway, client: Client, browser: Browser) -> None:
    url = client.hear("open")
    assert url.startswith(f"{gateway.url}/oauth/authorize?"), url
    browser.open(url)
    browser.type("[name=username]", "admin")
    browser.type("[name=password]", PASSWORD)
    browser.click("button[value=sign_in]")
    browser.await_text("Python wants to act for you")
    assert f"{gateway.url}/mcp" in browser.text(), browser.text()
    assert not consents(gateway)
    browser.click(ALLOW)
    browser.await_text("You may go back.")


def cheat(gateway: Gateway, browser: Browser, url: str) -> None:
    """Another site wants what the person's browser could give."""
    before = consents(gateway)
    with evil(url) as site:
        browser.events.clear()
        browser.open(f"{site}/frame")

        def is_kept_out() -> bool:
            browser.text()
            return any("frame-ancestors" in json.dumps(event) for event in browser.events)

        until(is_kept_out, "the browser keeps the page out of the frame")
        browser.open(f"{site}/post")
        browser.await_text("pages of this Origin may not call the gateway")
        where = browser.evaluate("location.href")
        assert where.startswith(gateway.url), where
    assert consents(gateway) == before


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as name:
        folder = Path(name)
        with Gateway(folder) as gateway, Browser(folder) as browser:
            client = Client(f"{gateway.url}/mcp", folder / "client.log")
            try:
                prove(gateway, client, browser)
            except BaseException:
                print((folder / "client.log").read_text()[-4000:])
                raise
            finally:
                kill(client.process)
    return 0


def prove(gateway: Gateway, client: Client, browser: Browser) -> None:
    client.send(["tools/list", {}])
    sign_in(gateway, client, browser)
    assert "tollhouse__current_time" in client.hear("result")
    assert client.ask(CALL)["content"]
    [given] = consents(gateway)
    assert (given["client_name"], given["scopes"]) == ("Python", ["mcp:read", "mcp:call"]), given
    print("signed in, consented, and called a tool")

    client.ask(["expire", {}])
    assert client.ask(CALL)["content"]
    [renewed] = consents(gateway)
    assert renewed["id"] == given["id"] and renewed["renewed_at"] > given["renewed_at"], renewed
    print("renewed its tokens without its person")

    gateway.command("consent", "revoke", given["id"])
    client.send(CALL)
    url = client.hear("open")
    cheat(gateway, browser, url)
    print("stood in no frame, and took no form of another site")

    browser.open(url)
    browser.click("button[value=deny]")
    browser.await_text("You may go back.")
    assert "access_denied" in client.hear("error")
    assert not consents(gateway)
    print("had to ask again once leave was taken back, and was told no")


if __name__ == "__main__":
    os.environ.setdefault("TOLLHOUSE_OBSERVE__FORMAT", "json")
    sys.exit(main())
