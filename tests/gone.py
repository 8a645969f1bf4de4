"""A client disappears in the middle of a call, in every era and transport: nothing stays behind.

Sockets by hand, because no SDK can be made to vanish. One call of `wait` (`compat/offer.py`) is on
its way when its client goes: a closed connection, a reset one, a killed process, an end of input.
Where the connection is all there is of the client, the server must hear that the call is over.
Where a session outlives connections (Streamable HTTP before 2026-07-28), the call must go on until
the session is ended or the call cancelled. Then descriptors, processes, sessions and conversations
of the gateway must be what they were before the first client came.

`--client` and `--server` take a part of a title.
"""

import argparse
import base64
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from faults import marked
from gateway import BINARY, ENVELOPE, REVISION, Gateway
from process import ask, kill, until
from servers.gone import LEGACY, Holdings, Server, quiet, servers

OLD = "2024-11-05"
PATIENCE_S = 20
# Idle connections to servers are the gateway's, and go at a time of their own.
QUICK = {
    "TOLLHOUSE_UPSTREAM__POOL_IDLE_SECONDS": "1",
    "TOLLHOUSE_UPSTREAM__STARTS_PER_MINUTE": "1000",
    "TOLLHOUSE_DRAIN_SECONDS": "60",
}
# With a drain of 60 s: what was left running would be waited for.
STOP_S = 15
ASKING = {"sampling": {}, "elicitation": {}}
WAIT = "tools/call"


class Wrong(Exception):
    """What the gateway did is not what the era asks of it."""


# Clients. Each begins a call and can go away.


class Connection:
    """One TCP connection to the gateway, of which the port is known."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)
        self.port: int = self.socket.getsockname()[1]
        self.file = self.socket.makefile("rb")

    def send(self, method: str, path: str, headers: Mapping[str, str], body: str = "") -> None:
        data = body.encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode() + data)

    def head(self) -> int:
        """Reads the head of an answer; its status."""
        status = int(self.file.readline().split()[1])
        while self.file.readline().strip():
            pass
        return status

    def go(self, ending: str) -> None:
        """Closes it without a word, in order or by a reset, and waits until that was noticed."""
        if ending == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.socket.close()
        until(lambda: not self.is_held(), f"the gateway lets go of the connection ({ending})", 15)

    def is_held(self) -> bool:
        """Whether the gateway still has its end of it."""
        ends = (f":{int(self.host.rpartition(':')[2]):04X}", f":{self.port:04X}")
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            # 01 is ESTABLISHED, 08 CLOSE_WAIT: any later state is the kernel's alone.
            if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
                return fields[3] in ("01", "08")
        return False


@dataclass
class Door:
    """The endpoint of one server, and how its client shows itself."""

    gateway: Gateway
    server: str
    asking: bool

    @property
    def path(self) -> str:
        return f"/servers/{self.server}"

    @property
    def key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.gateway.key}"}

    @property
    def capabilities(self) -> dict[str, Any]:
        return ASKING if self.asking else {}

    def initialize(self, revision: str) -> str:
        params = {
            "protocolVersion": revision,
            "capabilities": self.capabilities,
            "clientInfo": {"name": "gone", "version": "1"},
        }
        return message("initialize", params, 1)

    def modern(self, name: str, wanted: str = "wait") -> str:
        envelope = {**ENVELOPE, "io.modelcontextprotocol/clientCapabilities": self.capabilities}
        return message(WAIT, {**tool(wanted, name), "_meta": envelope}, 7)


class Client(Protocol):
    def begin(self, name: str) -> None:
        """Calls `wait` of that name."""

    def go(self, ending: str) -> None:
        """Disappears."""


def message(method: str, params: Mapping[str, Any] | None = None, number: int = 0) -> str:
    """A request, or without a number a notification."""
    identity = {"id": number} if number else {}
    rest = {"params": params} if params is not None else {}
    return json.dumps({"jsonrpc": "2.0", **identity, "method": method, **rest})


def tool(tool: str, name: str) -> dict[str, Any]:
    return {"name": tool, "arguments": {"name": name}}


ACCEPT = {"Accept": "application/json, text/event-stream"}


class ModernHttp:
    """One POST, which is all there is of the client."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def begin(self, name: str) -> None:
        headers = {
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": WAIT,
            "Mcp-Name": "wait",
        }
        self.connection = Connection(self.door.gateway.url)
        body = self.door.modern(name)
        path = f"{self.door.path}/mcp"
        self.connection.send("POST", path, {**ACCEPT, **self.door.key, **headers}, body)

    def go(self, ending: str) -> None:
        self.connection.go(ending)


class LegacyHttp:
    """A session, and one POST in it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.path = f"{door.path}/mcp"
        connection = Connection(door.gateway.url)
        shown = {**ACCEPT, **door.key}
        once = {**shown, "Connection": "close"}
        connection.send("POST", self.path, once, door.initialize(LEGACY))
        answer = connection.file.read().decode()
        connection.go("closed")
        named = [line for line in answer.splitlines() if line.lower().startswith("mcp-session-id:")]
        if not named:
            raise Wrong(f"no session: {answer}")
        session = named[0].partition(":")[2].strip()
        self.headers = {**shown, "Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}
        self.post(message("notifications/initialized"))

    def post(self, body: str) -> str:
        status, text = ask(
            self.door.gateway.url + self.path, json.loads(body), self.headers, timeout=PATIENCE_S
        )
        if status not in (200, 202):
            raise Wrong(f"HTTP {status}: {text}")
        return text

    def begin(self, name: str) -> None:
        self.connection = Connection(self.door.gateway.url)
        self.connection.send("POST", self.path, self.headers, message(WAIT, tool("wait", name), 7))

    def go(self, ending: str) -> None:
        self.connection.go(ending)

    def fate(self, name: str) -> str:
        """What the server itself says, in the session of the call."""
        text = self.post(message(WAIT, tool("fate", name), 8))
        found = [word for word in ("running", "cancelled") if f'"{word}"' in text]
        return found[0] if found else text

    def cancel(self) -> None:
        self.post(message("notifications/cancelled", {"requestId": 7, "reason": "enough"}))

    def end(self) -> None:
        connection = Connection(self.door.gateway.url)
        connection.send("DELETE", self.path, self.headers)
        status = connection.head()
        connection.go("closed")
        if status not in (200, 202, 204):
            raise Wrong(f"DELETE of the session: HTTP {status}")


class WebSocket:
    """A WebSocket, masked by hand."""

    def __init__(self, door: Door, is_modern: bool) -> None:
        self.door = door
        self.is_modern = is_modern
        self.connection = Connection(door.gateway.url)
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "mcp",
        }
        self.connection.send("GET", f"{door.path}/ws", {**door.key, **upgrade})
        status = self.connection.head()
        if status != 101:
            raise Wrong(f"WebSocket: HTTP {status}")
        if not is_modern:
            self.say(door.initialize(LEGACY))
            self.hear()
            self.say(message("notifications/initialized"))

    def say(self, text: str) -> None:
        data, mask = text.encode(), os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack("!BH", 0xFE, len(data))
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.connection.socket.sendall(b"\x81" + size + mask + masked)

    def hear(self) -> dict[str, Any]:
        """The next answer."""
        while True:
            kind, size = self.connection.file.read(2)
            if size == 126:
                (size,) = struct.unpack("!H", self.connection.file.read(2))
            data = self.connection.file.read(size)
            if kind & 0x0F == 8:
                raise Wrong(f"the WebSocket was closed: {data!r}")
            if kind & 0x0F == 1 and "id" in (said := json.loads(data)):
                return answered(said)

    def begin(self, name: str) -> None:
        call = message(WAIT, tool("wait", name), 7)
        self.say(self.door.modern(name) if self.is_modern else call)

    def go(self, ending: str) -> None:
        self.connection.go(ending)


class Events:
    """HTTP+SSE of 2024-11-05: a stream, and an endpoint to post to."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.connection = Connection(door.gateway.url)
        self.connection.send("GET", f"{door.path}/sse", {"Accept": "text/event-stream", **door.key})
        if (status := self.connection.head()) != 200:
            raise Wrong(f"HTTP+SSE: HTTP {status}")
        self.place = self.datum()
        self.post(door.initialize(OLD))
        answered(json.loads(self.datum()))
        self.post(message("notifications/initialized"))

    def datum(self) -> str:
        while not (line := self.connection.file.readline()).startswith(b"data:"):
            if not line:
                raise Wrong("the stream ended")
        return line[5:].strip().decode()

    def post(self, body: str) -> None:
        status, text = ask(
            self.door.gateway.url + self.place, json.loads(body), self.door.key, timeout=PATIENCE_S
        )
        if status != 202:
            raise Wrong(f"HTTP {status}: {text}")

    def begin(self, name: str) -> None:
        self.post(message(WAIT, tool("wait", name), 7))

    def go(self, ending: str) -> None:
        self.connection.go(ending)


class Stdio:
    """A `tollhouse stdio`, which speaks to the gateway on the same data folder."""

    def __init__(self, door: Door, is_modern: bool) -> None:
        self.door = door
        self.is_modern = is_modern
        words = [str(BINARY), "stdio", "--data", str(door.gateway.data), "--server", door.server]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if not is_modern:
            self.say(door.initialize(LEGACY))
            self.hear()
            self.say(message("notifications/initialized"))

    def hear(self) -> None:
        assert self.process.stdout
        answered(json.loads(self.process.stdout.readline()))

    def say(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def begin(self, name: str) -> None:
        call = message(WAIT, tool("wait", name), 7)
        self.say(self.door.modern(name) if self.is_modern else call)

    def go(self, ending: str) -> None:
        assert self.process.stdin and self.process.stdout
        try:
            if ending == "end of input":
                self.process.stdin.close()
                self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Wrong(f"tollhouse stdio runs {PATIENCE_S} s after its input ended") from None
        finally:
            kill(self.process)
            self.process.stdin.close()
            self.process.stdout.close()


def answered(said: dict[str, Any]) -> dict[str, Any]:
    if "result" not in said:
        raise Wrong(f"refused: {said}")
    return said


@dataclass(frozen=True)
class Kind:
    """A kind of client: how it comes, how it goes, and what its session needs to end."""

    title: str
    come: Callable[[Door], Client]
    endings: tuple[str, str] = ("closed", "reset")
    # What must happen after it has gone, for the call to be over; nothing where going is enough.
    after: str = ""


PROCESS_ENDINGS = ("kill -9", "end of input")
KINDS = [
    Kind(f"{REVISION} Streamable HTTP", ModernHttp),
    Kind(f"{LEGACY} Streamable HTTP, then DELETE", LegacyHttp, after="delete"),
    Kind(f"{LEGACY} Streamable HTTP, then cancelled", LegacyHttp, after="cancel"),
    Kind(f"{REVISION} WebSocket", lambda door: WebSocket(door, is_modern=True)),
    Kind(f"{LEGACY} WebSocket", lambda door: WebSocket(door, is_modern=False)),
    Kind(f"{OLD} HTTP+SSE", Events),
    Kind(f"{REVISION} stdio", lambda door: Stdio(door, is_modern=True), PROCESS_ENDINGS),
    Kind(f"{LEGACY} stdio", lambda door: Stdio(door, is_modern=False), PROCESS_ENDINGS),
]


# Proofs.


def begun(client: Client, server: Server) -> str:
    """Begins a call, and its name once the server has it."""
    name = uuid.uuid4().hex
    client.begin(name)
    until(lambda: server.board.read(name) == "running", "the server has the call", PATIENCE_S)
    return name


def is_cancelled(server: Server, name: str, why: str) -> None:
    try:
        until(lambda: server.board.read(name) == "cancelled", why, PATIENCE_S)
    except TimeoutError:
        fate = server.board.read(name)
        raise Wrong(f"{why}: {PATIENCE_S} s later the call is {fate}, not cancelled") from None


def disappear(kind: Kind, ending: str, door: Door, server: Server) -> None:
    """A client comes, calls, goes; what becomes of its call."""
    client = kind.come(door)
    name = begun(client, server)
    client.go(ending)
    if isinstance(client, LegacyHttp):
        # Answered on the way that a cancellation would have taken, and after it.
        if (fate := client.fate(name)) != "running":
            raise Wrong(f"{ending}: in the session the call is {fate}, not running")
        if kind.after == "cancel":
            client.cancel()
            is_cancelled(server, name, f"{ending}, then notifications/cancelled")
        client.end()
    is_cancelled(server, name, f"{ending}{', then DELETE' if kind.after else ''}")


def nothing_left(gateway: Gateway, before: Holdings) -> None:
    try:
        until(lambda: not Holdings.of(gateway).left(before), "nothing is left", PATIENCE_S)
    except TimeoutError:
        left = Holdings.of(gateway).left(before)
        raise Wrong(f"{PATIENCE_S} s later there is left: {'; '.join(left)}") from None


def warm(gateway: Gateway, server: Server) -> Holdings:
    """What is held once each principal, which outlives its clients, has asked the server."""
    url = f"{gateway.url}/servers/{server.name}/mcp"
    for asking in (False, True):
        door = Door(gateway, server.name, asking)
        body = json.loads(door.modern("nobody", "fate"))
        headers = {"MCP-Protocol-Version": REVISION, "Mcp-Method": WAIT, "Mcp-Name": "fate"}
        status, text = ask(url, body, {**ACCEPT, **door.key, **headers})
        assert status == 200 and "result" in text, f"{server.title}: HTTP {status}: {text}"
        # The local socket belongs to another principal than the key.
        client = Stdio(door, is_modern=True)
        client.say(door.modern("nobody", "fate"))
        client.hear()
        client.go("end of input")
    return quiet(gateway)


def alone(home: Path, server: Server, ending: str) -> None:
    """A `tollhouse stdio` with no gateway beside it is one itself, and takes all along."""
    home.mkdir()
    gateway = Gateway(home)
    with server.registered(gateway):
        client = Stdio(Door(gateway, server.name, asking=True), is_modern=False)
        begun(client, server)
        assert marked(server.mark), "the server runs below it"
        client.go(ending)
        try:
            until(lambda: not marked(server.mark), "its servers are gone", PATIENCE_S)
        except TimeoutError:
            raise Wrong(f"{ending}: processes remain: {marked(server.mark)}") from None


@dataclass
class Tally:
    """What was proved, and what was not."""

    passed: int = 0
    failed: int = 0

    def prove(self, title: str, proof: Callable[[], str]) -> None:
        began = time.monotonic()
        try:
            found = proof()
        except (Wrong, TimeoutError, OSError, ValueError) as wrong:
            self.failed += 1
            print(f"  ✗ {title}: {wrong}", flush=True)
            if not isinstance(wrong, Wrong):
                traceback.print_exc()
        else:
            self.passed += 1
            print(f"  ✓ {title}: {found} ({time.monotonic() - began:.1f} s)", flush=True)


def prove_all(gateway: Gateway, chosen: list[Server], kinds: list[Kind], tally: Tally) -> None:
    for server in chosen:
        with server.registered(gateway):
            before = warm(gateway, server)
            print(f"{server.title}: {before}", flush=True)
            for kind, asking in itertools.product(kinds, (False, True)):
                door = Door(gateway, server.name, asking)

                def proof(kind: Kind = kind, door: Door = door) -> str:
                    for ending in kind.endings * 2:
                        disappear(kind, ending, door, server)
                    nothing_left(gateway, before)
                    return f"{', '.join(kind.endings)}, twice each"

                sort = "can be asked" if asking else "cannot be asked"
                tally.prove(f"{kind.title} → {server.title}, {sort}", proof)


def stops(gateway: Gateway, chosen: list[Server]) -> str:
    """Tasks cannot be counted from outside, but a stop would wait for those that were left."""
    process = gateway.process
    assert process
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        raise Wrong(f"the gateway still stops after {STOP_S} s") from None
    gateway.process = None
    if code:
        raise Wrong(f"the gateway ended with {code}")
    if remaining := set().union(*(marked(server.mark) for server in chosen)):
        raise Wrong(f"processes remain: {remaining}")
    return "no task is waited for, no process remains"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--client", default="")
    parser.add_argument("--server", default="")
    chosen = parser.parse_args()
    os.environ.update(QUICK)
    began, tally = time.monotonic(), Tally()
    kinds = [kind for kind in KINDS if chosen.client in kind.title]
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as folder:
        home = Path(folder)
        wanted = [server for server in servers(home) if chosen.server in server.title]
        with Gateway(home) as gateway:
            prove_all(gateway, wanted, kinds, tally)
            tally.prove("SIGTERM afterwards", lambda: stops(gateway, wanted))
            if tally.failed:
                lines = gateway.log.read_text(errors="replace").splitlines()
                print("the gateway's last words:", *lines[-40:], sep="\n    ")
        by_itself = [it for it in wanted if it.transport == "stdio" and not chosen.client]
        for server, (number, ending) in itertools.product(by_itself, enumerate(PROCESS_ENDINGS)):
            place = home / f"alone-{server.name}-{number}"
            again = Server(server.title, server.is_modern, "stdio", place / "board")

            def proof(place: Path = place, again: Server = again, ending: str = ending) -> str:
                alone(place, again, ending)
                return "no process remains"

            tally.prove(f"{LEGACY} stdio, a gateway by itself, {ending} → {server.title}", proof)
    print(f"after {time.monotonic() - began:.0f} s")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
