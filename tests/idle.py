"""Five thousand clients come, shake hands and say no more: what each costs in memory.

Once for each transport on which a connection stands open, with a gateway of its own, and measured
when every client has heard a sign of life (a ping, a comment) and a WebSocket has answered it. The
first client is not counted: it brings in what all share. Afterwards all go, and no descriptor of
the gateway remains.
"""

import http.client
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway import Gateway
from gone import ACCEPT, LEGACY, OLD, Connection, Door, Events, WebSocket, Wrong, message
from process import until
from servers.gone import descriptors, quiet

CLIENTS = 5_000
AT_ONCE = 50
SETTINGS = {
    # Everybody has the same key, and comes from one address.
    "TOLLHOUSE_EDGE__SESSIONS__MAX_PER_PRINCIPAL": str(CLIENTS + 1),
    "TOLLHOUSE_EDGE__CONNECTIONS__MAX_CONNECTIONS_PER_ADDRESS": str(CLIENTS + 2 * AT_ONCE),
    # Streams of events show that they are there every 15 seconds.
    "TOLLHOUSE_EDGE__CHANNELS__PING_SECONDS": "10",
}
WEBSOCKET_KIB = 12
STREAM_KIB = 24
PONG = b"\x8a\x80\0\0\0\0"


class Front(Door):
    """The endpoint of everything."""

    @property
    def path(self) -> str:
        return ""


class Socket(WebSocket):
    """A WebSocket after the handshake of MCP."""

    def __init__(self, door: Door, beside: http.client.HTTPConnection) -> None:
        super().__init__(door, is_modern=False)

    def hear_life(self) -> None:
        heard = self.connection.file.read(2)
        if heard != b"\x89\0":
            raise Wrong(f"a WebSocket heard {heard!r} in place of a ping")
        self.connection.socket.sendall(PONG)


class Stream(Events):
    """A stream of 2024-11-05 after the handshake of MCP."""

    def __init__(self, door: Door, beside: http.client.HTTPConnection) -> None:
        self.beside = beside
        super().__init__(door)

    def post(self, body: str) -> None:
        post(self.beside, self.place, self.door.key, body)

    def hear_life(self) -> None:
        hear_comment(self.connection)


class Standing:
    """The stream that stands open beside the calls of a session of Streamable HTTP."""

    def __init__(self, door: Door, beside: http.client.HTTPConnection) -> None:
        path, headers = f"{door.path}/mcp", {**ACCEPT, **door.key}
        answer = post(beside, path, headers, door.initialize(LEGACY))
        headers["Mcp-Session-Id"] = answer.headers["Mcp-Session-Id"]
        headers["MCP-Protocol-Version"] = LEGACY
        post(beside, path, headers, message("notifications/initialized"))
        self.connection = Connection(door.gateway.url)
        self.connection.send("GET", path, headers)
        if (status := self.connection.head()) != 200:
            raise Wrong(f"the standing stream: HTTP {status}")

    def hear_life(self) -> None:
        hear_comment(self.connection)


Client = Socket | Stream | Standing


def post(
    beside: http.client.HTTPConnection, path: str, headers: dict[str, str], body: str
) -> http.client.HTTPResponse:
    beside.request("POST", path, body, {**headers, "Content-Type": "application/json"})
    answer = beside.getresponse()
    text = answer.read()
    if answer.status not in (200, 202):
        raise Wrong(f"HTTP {answer.status}: {text!r}")
    return answer


def hear_comment(connection: Connection) -> None:
    while not (line := connection.file.readline()).startswith(b":"):
        if not line:
            raise Wrong("a stream ended")


@dataclass(frozen=True)
class Kind:
    """A transport, and what one of its clients may cost."""

    title: str
    come: Callable[[Door, http.client.HTTPConnection], Client]
    limit_kib: int


KINDS = [
    Kind(f"{LEGACY} WebSocket", Socket, WEBSOCKET_KIB),
    Kind(f"{OLD} HTTP+SSE", Stream, STREAM_KIB),
    Kind(f"{LEGACY} Streamable HTTP", Standing, STREAM_KIB),
]


def come(gateway: Gateway, kind: Kind, many: int) -> list[Client]:
    """So many clients, one after the other. What they post, they post on one kept connection."""
    door = Front(gateway, "", asking=False)
    with closing(http.client.HTTPConnection(gateway.url.removeprefix("http://"))) as beside:
        return [kind.come(door, beside) for _ in range(many)]


def go(clients: list[Client]) -> None:
    for client in clients:
        client.connection.file.close()
        client.connection.socket.close()


def resident_kib(gateway: Gateway) -> int:
    assert gateway.process
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1])


def cost(gateway: Gateway, kind: Kind) -> float:
    """The KiB of one client."""
    assert gateway.process
    process = gateway.process.pid
    go(come(gateway, kind, 1))
    at_first = quiet(gateway).open

    before = resident_kib(gateway)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        shares = pool.map(lambda _: come(gateway, kind, CLIENTS // AT_ONCE), range(AT_ONCE))
        clients = [client for share in shares for client in share]
    for client in clients:
        client.hear_life()
    each = (resident_kib(gateway) - before) / CLIENTS

    here = descriptors(process)["socket"] - at_first["socket"]
    if len(clients) != CLIENTS or here < CLIENTS:
        raise Wrong(f"{len(clients)} clients came, {here} connections are open")
    go(clients)
    until(lambda: not descriptors(process) - at_first, "no descriptor is left of the clients")
    return each


def judge(kind: Kind) -> bool:
    """Whether a client of this kind is as small as it must be."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="tollhouse-") as home:
            with Gateway(Path(home)) as gateway:
                each = cost(gateway, kind)
    except (Wrong, TimeoutError, OSError) as wrong:
        print(f"  ✗ {kind.title}: {wrong}", flush=True)
        return False
    is_small = each <= kind.limit_kib
    line = f"{kind.title}: {each:.1f} of {kind.limit_kib} KiB for each of {CLIENTS} idle clients"
    print(f"  {'✓' if is_small else '✗'} {line} ({time.monotonic() - began:.0f} s)", flush=True)
    return is_small


def main() -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Two ends of every connection, in two processes; the gateway inherits the limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.environ.update(SETTINGS)
    passed = sum(judge(kind) for kind in KINDS)
    print(f"{passed} passed, {len(KINDS) - passed} failed")
    return 0 if passed == len(KINDS) else 1


if __name__ == "__main__":
    sys.exit(main())
