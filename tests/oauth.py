"""Real clients and a real browser: people sign in, consent, and take it back.

The SDKs register themselves with their own OAuth providers, and send their people to the gateway in
Chromium. Two people use the same gateway, and each acts in their own name. Then a page of somebody
else tries to get leave in their name. Both connect their own accounts at a server behind the gateway,
which is another gateway. Last, the official suite judges the authorization server.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from browser import Browser
from gateway import Gateway
from process import NODE, ROOT, SUITE, TOOLS, ask, free_port, kill, until

PASSWORD = "a passphrase of some length"
CALL = ["tools/call", {"name": "tollhouse__current_time", "arguments": {}}]
THERE_TOOL = "there__tollhouse__current_time"
ALLOW = "button[value=allow]"
CLIENTS = ROOT / "tests/clients"
EVIDENCE = ROOT / "target/conformance/authorization"


@dataclass(frozen=True)
class Program:
    """A client, under the name it gives itself."""

    name: str
    words: tuple[Path, ...]


PYTHON = Program("Python", (TOOLS / "python-2/bin/python", CLIENTS / "oauth_2.py"))
JAVASCRIPT = Program("Node", (NODE / ".bin/node", CLIENTS / "oauth_client_2.mjs"))


class Client:
    """A client in a process of its own, spoken to line by line."""

    def __init__(self, program: Program, url: str, log: Path) -> None:
        words = [*program.words, url]
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


def consents(gateway: Gateway, person: str) -> list[dict[str, Any]]:
    return json.loads(gateway.command("consent", "list", "--user", person, "-o", "json"))


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


@dataclass(frozen=True)
class Trial:
    """A person with a browser, and a client that acts for them."""

    gateway: Gateway
    browser: Browser
    program: Program
    client: Client
    person: str

    def consents(self) -> list[dict[str, Any]]:
        return consents(self.gateway, self.person)

    def prove(self) -> None:
        self.client.send(["tools/list", {}])
        self.sign_in()
        assert "tollhouse__current_time" in self.client.hear("result")
        assert self.client.ask(CALL)["content"]
        [given] = self.consents()
        said = (given["client_name"], given["scopes"])
        assert said == (self.program.name, ["mcp:read", "mcp:call"]), given
        print(f"{self.person} signed in, consented, and {self.program.name} called a tool")

        self.client.ask(["expire", {}])
        assert self.client.ask(CALL)["content"]
        [renewed] = self.consents()
        assert renewed["id"] == given["id"] and renewed["renewed_at"] > given["renewed_at"], renewed
        print(f"{self.program.name} renewed its tokens without its person")

    def sign_in(self) -> None:
        url = self.client.hear("open")
        assert url.startswith(f"{self.gateway.url}/oauth/authorize?"), url
        self.browser.open(url)
        enter(self.browser, self.person)
        self.browser.await_text(f"{self.program.name} wants to act for you")
        assert f"{self.gateway.url}/mcp" in self.browser.text(), self.browser.text()
        assert not self.consents()
        self.browser.click(ALLOW)
        self.browser.await_text("You may go back.")

    def take_back(self) -> None:
        [given] = self.consents()
        self.gateway.command("consent", "revoke", given["id"])
        self.client.send(CALL)
        url = self.client.hear("open")
        self.cheat(url)
        print("a page of somebody else showed ours in no frame, and sent no form of ours")

        self.browser.open(url)
        self.browser.click("button[value=deny]")
        self.browser.await_text("You may go back.")
        assert "access_denied" in self.client.hear("error")
        assert not self.consents()
        print("once leave was taken back, it had to be asked for again, and was not given")

    def call_there(self) -> str:
        """What a tool says that is used with an account of everybody's own."""
        answer = self.client.ask(["tools/call", {"name": THERE_TOOL, "arguments": {}}])
        return answer["content"][0]["text"]

    def connect(self, url: str, there: Gateway, account: str) -> None:
        """Signs in at the other gateway, on the way that the page leads."""
        self.browser.open(url)
        self.browser.await_text("Connect your account at there")
        self.browser.click("button[value=connect]")
        self.browser.await_text("to go on to Tollhouse")
        assert self.browser.evaluate("location.origin") == there.url
        enter(self.browser, account)
        self.browser.await_text("Tollhouse wants to act for you")
        self.browser.click(ALLOW)
        self.browser.await_text("Your account at there is connected")
        assert self.browser.evaluate("location.origin") == self.gateway.url
        print(f"{self.person} connected the account {account} at the other gateway")

    def cheat(self, url: str) -> None:
        """Another site wants what the person's browser could give."""
        with evil(url) as site:
            self.browser.events.clear()
            self.browser.open(f"{site}/frame")

            def is_kept_out() -> bool:
                self.browser.text()
                return any("frame-ancestors" in json.dumps(event) for event in self.browser.events)

            until(is_kept_out, "the browser keeps the page out of the frame")
            self.browser.open(f"{site}/post")
            self.browser.await_text("pages of this Origin may not call the gateway")
            where = self.browser.evaluate("location.href")
            assert where.startswith(self.gateway.url), where
        assert not self.consents()


def enter(browser: Browser, person: str) -> None:
    browser.type("[name=username]", person)
    browser.type("[name=password]", PASSWORD)
    browser.click("button[value=sign_in]")


@contextmanager
def trial(
    gateway: Gateway, folder: Path, program: Program, person: str, browser: Browser
) -> Iterator[Trial]:
    log = folder / f"{program.name}-{person}.log"
    client = Client(program, f"{gateway.url}/mcp", log)
    try:
        yield Trial(gateway, browser, program, client, person)
    except BaseException:
        print(log.read_text()[-4000:])
        raise
    finally:
        kill(client.process)


def callers(there: Gateway) -> list[str]:
    """Who called the tool at the other gateway, in order."""
    calls = [json.loads(line) for line in there.log.read_text().splitlines() if line[:1] == "{"]
    return [call["caller"] for call in calls if "current_time" in call.get("item", "")]


def connect_both(first: Trial, second: Trial, there: Gateway) -> None:
    """Each calls a server behind the gateway with their own account there."""
    first.gateway.command("register", "there", "--endpoint", f"{there.url}/mcp", "--auth", "oauth")
    page = first.gateway.command("link", "add", "there").strip()
    first.connect(page, there, f"{first.person}-there")
    until(lambda: "UTC" in first.call_there(), "the tool is there")
    told = second.call_there()
    assert told.endswith(page), told
    until(lambda: len(set(callers(there))) == 1, "the other gateway wrote down one caller")
    second.connect(page, there, f"{second.person}-there")
    assert "UTC" in second.call_there() and "UTC" in first.call_there()
    people = json.loads(there.command("user", "list", "-o", "json"))
    ids = {person["username"]: f"user:{person['id']}" for person in people}
    ours = [ids[f"{trial.person}-there"] for trial in (second, first)]
    until(lambda: callers(there)[-2:] == ours, f"the other gateway wrote down {ours}")
    print("each of them called it with their own account there, and neither with the other's")


def judge(gateway: Gateway, browser: Browser, person: str, more: dict[str, str]) -> None:
    """The official suite is the client, and its person does what it prints."""
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/callback"
    form = {"client_name": "Suite", "redirect_uris": [redirect]}
    status, answer = ask(f"{gateway.url}/oauth/register", form, {})
    assert status == 201, answer
    words = {
        "--url": gateway.url,
        "--client-id": json.loads(answer)["client_id"],
        "--port": str(port),
        "--output-dir": str(EVIDENCE),
        **more,
    }
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    suite = subprocess.Popen(
        [*SUITE, "authorization", *(word for pair in words.items() for word in pair)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert suite.stdout
        printed = iter(suite.stdout.readline, "")
        url = next(line.strip() for line in printed if line.startswith(f"{gateway.url}/oauth/"))
        browser.open(url)
        enter(browser, person)
        browser.click(ALLOW)
        rest = "".join(printed)
        assert suite.wait(30) == 0, rest
    finally:
        kill(suite)
    checks = [
        (check["id"], check["status"])
        for found in EVIDENCE.rglob("checks.json")
        for check in json.loads(found.read_text())
    ]
    assert {status for _, status in checks} == {"SUCCESS"}, checks
    assert {check for check, _ in checks} == {
        "authorization-server-metadata",
        "authorization-server-metadata-cimd",
        "authorization-code-grant",
    }, checks
    print(f"the official suite finds {len(checks)} of {len(checks)} checks kept")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as name:
        folder = Path(name)
        (folder / "there").mkdir()
        with Gateway(folder) as gateway, Gateway(folder / "there") as there:
            gateway.command("user", "create", "guest", "--password-stdin", stdin=PASSWORD)
            for account in ("admin-there", "guest-there"):
                there.command("user", "create", account, "--password-stdin", stdin=PASSWORD)
            prove(gateway, there, folder)
    return 0


def prove(gateway: Gateway, there: Gateway, folder: Path) -> None:
    with (
        Browser(folder / "one") as browser,
        Browser(folder / "other") as other,
        trial(gateway, folder, PYTHON, "admin", browser) as first,
        trial(gateway, folder, JAVASCRIPT, "guest", other) as second,
    ):
        first.prove()
        second.prove()
        [given], [others] = first.consents(), second.consents()
        assert given["id"] != others["id"]
        connect_both(first, second, there)
        first.take_back()
        # What one took back, the other keeps.
        assert second.client.ask(CALL)["content"]
        second.take_back()
    for program, person in ((PYTHON, "guest"), (JAVASCRIPT, "admin")):
        with (
            Browser(folder / f"{program.name}-{person}") as browser,
            trial(gateway, folder, program, person, browser) as swapped,
        ):
            swapped.prove()
    # Clients of the first revision with authorization name no resource.
    for number, more in enumerate(({"--resource": f"{gateway.url}/mcp"}, {})):
        with Browser(folder / f"suite-{number}") as browser:
            judge(gateway, browser, "admin", more)


if __name__ == "__main__":
    os.environ.setdefault("TOLLHOUSE_OBSERVE__FORMAT", "json")
    sys.exit(main())
