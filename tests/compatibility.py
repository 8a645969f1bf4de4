"""Every feature, from clients of every era on every transport to servers of every era on every one.

Real SDKs on both sides (`compat/`), one gateway between them. Each client proves all features
against each server, at the server's own endpoint. A cell is green when the feature works, content
and all, or when one of the two ends cannot express it and that is answered with an error.

The table is written to `COMPATIBILITY.md`: the test fails when a cell is red, and when the file
differs from what was found. `--write` writes it anew. `--direct` leaves the gateway out: each
client asks the servers of its own era and transport, which proves the scripts and not the product.
`--client`, `--server` and `--feature` take a part of a title, and `--list` names them all; what is
found then is printed in full and compared with nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gateway import BINARY, Gateway, Refused
from process import ROOT, TOOLS, free_port, running

SCRIPTS = ROOT / "tests/compat"
WRITTEN = ROOT / "tests/COMPATIBILITY.md"
# What was found the last time, red or green, with the closing line.
FOUND = ROOT / "target/compatibility.md"
PYTHON_1 = TOOLS / "python-1/bin/python"
PYTHON_2 = TOOLS / "python-2/bin/python"
# The Node of the tools, because older ones have no WebSocket.
NODE = TOOLS / "node/node_modules/.bin/node"
FEATURES = [
    "call",
    "progress",
    "cancel",
    "elicitation form",
    "elicitation URL",
    "sampling",
    "roots",
    "log",
    "list_changed",
    "resource update",
    "completion",
    "task",
]
MODERN, LEGACY, OLD, DUAL = "2026-07-28", "2025-11-25", "2024-11-05", "both eras"
TRANSPORTS = {
    "http": "Streamable HTTP",
    "sse": "HTTP+SSE",
    "websocket": "WebSocket",
    "stdio": "stdio",
}
# The doors of the gateway, below `/servers/{name}`; stdio is a command of its own.
DOORS = {"http": "mcp", "sse": "sse", "websocket": "ws"}
PAIR_LIMIT_S = 90
# Two cores are enough to keep two conversations going, and too few for more.
LANES = 2


@dataclass(frozen=True)
class Client:
    """A client SDK in one era, on one transport."""

    sdk: str
    era: str
    transport: str
    command: tuple[Path, Path]
    mode: str

    @property
    def title(self) -> str:
        return f"{self.sdk}, {self.era}, {TRANSPORTS[self.transport]}"

    def prove(
        self, targets: Sequence[str], key: str, features: Sequence[str]
    ) -> list[dict[str, Any]]:
        """For each target and feature {"ok", "detail"}, and {"error"} when it was answered so."""
        words: list[str | Path] = [*self.command, json.dumps(targets), key]
        words += [self.mode, self.transport, *features]
        limit = PAIR_LIMIT_S * len(targets)
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
            printed, lost = done.stdout, f"the client ended with {done.returncode}: {done.stderr}"
        except subprocess.TimeoutExpired as late:
            printed = (late.stdout or b"").decode()
            lost = f"the client did not end within {limit} s"
        found = [json.loads(line) for line in printed.splitlines() if line.endswith("}")]
        found += [{} for _ in targets[len(found) :]]
        absent = {"ok": False, "detail": lost}
        return [{name: one.get(name, absent) for name in features} for one in found]


@dataclass(frozen=True)
class Server:
    """A server SDK in one era, on one transport; started by whoever asks it when on stdio."""

    sdk: str
    era: str
    transport: str
    url: str = ""
    command: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.sdk}, {self.era}, {TRANSPORTS[self.transport]}"

    @property
    def name(self) -> str:
        era = {MODERN: "modern", LEGACY: "legacy", DUAL: "dual"}[self.era]
        return f"{era}-{self.transport}"

    @property
    def target(self) -> str:
        """How a client names it that asks it directly."""
        return self.url or stdio_target(*self.command)


def clients() -> Iterator[Client]:
    python_2 = (PYTHON_2, SCRIPTS / "client_2.py")
    python_1 = (PYTHON_1, SCRIPTS / "client_1.py")
    npm_2 = (NODE, SCRIPTS / "client_2.mjs")
    npm_1 = (NODE, SCRIPTS / "sdk_1.mjs")
    for transport in ("http", "stdio"):
        yield Client("Python mcp 2.3.0", MODERN, transport, python_2, "modern")
    for transport in ("http", "stdio"):
        yield Client("npm client 2.4.0", MODERN, transport, npm_2, "modern")
    for transport in ("http", "sse", "stdio"):
        yield Client("Python mcp 2.3.0", LEGACY, transport, python_2, "legacy")
    for transport in ("http", "sse", "websocket", "stdio"):
        yield Client("Python mcp 1.30.0", LEGACY, transport, python_1, LEGACY)
    for transport in ("http", "sse", "stdio"):
        yield Client("npm client 2.4.0", LEGACY, transport, npm_2, "legacy")
    for transport in ("http", "sse", "websocket", "stdio"):
        yield Client("npm sdk 1.32.2", LEGACY, transport, npm_1, "legacy")
    for transport in ("sse", "stdio"):
        yield Client("Python mcp 1.30.0", OLD, transport, python_1, OLD)


# Why a client cannot express a feature: SDK and era, the features, the reason.
WITHOUT = [
    ("Python mcp 1.30.0", OLD, ("elicitation form", "elicitation URL"), f"{OLD} cannot elicit"),
]


def excuse(client: Client, feature: str) -> str | None:
    """Why the client cannot express the feature."""
    reasons = (
        reason
        for sdk, era, features, reason in WITHOUT
        if (client.sdk, client.era) == (sdk, era) and feature in features
    )
    return next(reasons, None)


def stdio_target(command: str, *arguments: str) -> str:
    return json.dumps({"command": command, "args": arguments})


@contextmanager
def server(sdk: str, era: str, transport: str, folder: Path) -> Iterator[Server]:
    """A server that is ready to be asked."""
    board = folder / f"board-{sdk}-{era}-{transport}".replace(" ", "-")
    board.mkdir()
    if era == LEGACY:
        words = [str(PYTHON_1), str(SCRIPTS / "server_1.py"), transport, str(board)]
    else:
        mode = {MODERN: "modern", DUAL: "dual"}[era]
        words = [str(PYTHON_2), str(SCRIPTS / "server_2.py"), transport, mode, str(board)]
    if transport == "stdio":
        yield Server(sdk, era, transport, command=tuple(words))
        return
    port = free_port()
    scheme, path = {
        "http": ("http", "mcp"),
        "sse": ("http", "sse"),
        "websocket": ("ws", "ws"),
    }[transport]
    with running([*words, str(port)], port, board.with_suffix(".log")):
        yield Server(sdk, era, transport, url=f"{scheme}://127.0.0.1:{port}/{path}")


@contextmanager
def servers(folder: Path, wanted: str) -> Iterator[list[Server]]:
    kinds = [
        *(("Python mcp 2.3.0", MODERN, transport) for transport in ("http", "stdio")),
        *(("Python mcp 2.3.0", DUAL, transport) for transport in ("http", "stdio")),
        *(("Python mcp 1.30.0", LEGACY, transport) for transport in TRANSPORTS),
    ]
    with ExitStack() as stack:
        yield [
            stack.enter_context(server(*kind, folder))
            for kind in kinds
            if wanted in Server(*kind).title or wanted in Server(*kind).name
        ]


@dataclass(frozen=True)
class Cell:
    """One feature between one client and one server."""

    client: Client
    server: Server
    feature: str
    found: Mapping[str, Any]

    @property
    def is_green(self) -> bool:
        if excuse(self.client, self.feature):
            return "error" in self.found
        return bool(self.found["ok"])

    @property
    def problem(self) -> str:
        if self.is_green:
            return ""
        reason = excuse(self.client, self.feature)
        wish = f"should be refused ({reason}), and is not: " if reason else ""
        return f"{self.feature}: {wish}{self.found['detail']}"


class Ends:
    """How a client reaches a server: directly, or through the gateway."""

    def __init__(self, gateway: Gateway | None = None) -> None:
        self.gateway = gateway
        self.unregistered: dict[str, str] = {}

    @property
    def key(self) -> str:
        return self.gateway.key if self.gateway else ""

    def register(self, server: Server) -> None:
        if self.gateway:
            try:
                self.gateway.register(server.name, server.url, server.command)
            except (Refused, subprocess.TimeoutExpired) as error:
                self.unregistered[server.name] = f"not registered: {error}"

    def meet(self, client: Client, server: Server) -> bool:
        """Whether the two can meet: everybody meets everybody at the gateway."""
        if self.gateway:
            return True
        eras = {MODERN: (MODERN, DUAL), LEGACY: (LEGACY,), OLD: (LEGACY,)}
        return client.transport == server.transport and server.era in eras[client.era]

    def target(self, client: Client, server: Server) -> str:
        if not self.gateway:
            return server.target
        if client.transport == "stdio":
            data = str(self.gateway.data)
            return stdio_target(str(BINARY), "stdio", "--data", data, "--server", server.name)
        base = f"{self.gateway.url}/servers/{server.name}/{DOORS[client.transport]}"
        return base.replace("http:", "ws:") if client.transport == "websocket" else base

    def prove(
        self, client: Client, offered: Sequence[Server], features: Sequence[str]
    ) -> list[Cell]:
        """One client at several servers, one after the other."""
        met = [server for server in offered if self.meet(client, server)]
        known = [server for server in met if server.name not in self.unregistered]
        targets = [self.target(client, server) for server in known]
        found = client.prove(targets, self.key, features) if targets else []
        outcomes = dict(zip((server.name for server in known), found, strict=True))
        for name, reason in self.unregistered.items():
            outcomes[name] = dict.fromkeys(features, {"ok": False, "detail": reason})
        return [
            Cell(client, server, feature, outcomes[server.name][feature])
            for server in met
            for feature in features
        ]


class Report:
    """Says as it comes what was found, one pair at a time."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.lock = threading.Lock()

    def tell(self, cells: Sequence[Cell]) -> None:
        bad = [cell.problem for cell in cells if not cell.is_green]
        said = [f"{cell.feature}: {cell.found['detail']}" for cell in cells if cell.is_green]
        client, server = cells[0].client, cells[0].server
        with self.lock:
            print(f"{'✗' if bad else '✓'} {client.title} → {server.title}", flush=True)
            for line in said if self.verbose else []:
                print(f"    ✓ {line}", flush=True)
            # One reason is said once, whatever it spoils.
            for reason, lines in groupby(bad, lambda line: line.partition(": ")[2]):
                names = ", ".join(line.partition(": ")[0] for line in lines)
                print(f"    ✗ {names}: {reason[:1000]}", flush=True)


def prove_all(
    ends: Ends,
    chosen: Sequence[Client],
    offered: Sequence[Server],
    features: Sequence[str],
    report: Report,
) -> list[Cell]:
    """All cells. A server talks to one client at a time, so that nobody hears of another's."""

    def lane(own: Sequence[Server]) -> list[Cell]:
        cells: list[Cell] = []
        for client in chosen:
            found = ends.prove(client, own, features)
            bad = {cell.server for cell in found if not cell.is_green}
            if bad:
                # A busy machine can be slower than a client waits. Once is chance, twice is not.
                print(f"{client.title}: once more with {len(bad)} servers", flush=True)
                again = ends.prove(client, [server for server in own if server in bad], features)
                second = {(cell.server, cell.feature): cell for cell in again}
                found = [second.get((cell.server, cell.feature), cell) for cell in found]
            for _, pair in groupby(found, lambda cell: cell.server):
                report.tell(list(pair))
            cells += found
        return cells

    lanes = [offered[number::LANES] for number in range(LANES)]
    with ThreadPoolExecutor(LANES) as pool:
        cells = [cell for found in pool.map(lane, lanes) for cell in found]
    order = {server: number for number, server in enumerate(offered)}
    return sorted(cells, key=lambda cell: order[cell.server])


HEAD = f"""# Compatibility

What passes through Tollhouse between real clients and real servers. `tests/run compatibility`
finds it out and fails when this page says something else; `tests/compatibility.py --write` writes
it anew.

Each row is a client, each column a feature, each section a server behind the gateway. ✓ means that
the feature works and its content was compared. A number means that the client cannot express the
feature, and that asking for it anyway is answered with an error, never with silence.

- **{MODERN}** is stateless: questions come as an answer that asks for input, changes come on a
  stream that was asked for. **{LEGACY}** has sessions, and so has **{OLD}**.
- A server of **{DUAL}** speaks {MODERN} and sessions; the gateway takes the one of the client where the server may
  ask it something, and the newer one otherwise.
"""


def render(cells: Sequence[Cell]) -> str:
    """The page; the same for the same outcome."""
    reasons = list(dict.fromkeys(reason for *_, reason in WITHOUT))
    sections = [HEAD]
    for title, group in groupby(cells, lambda cell: cell.server.title):
        lines = [["client", "revision", "transport", *FEATURES]]
        lines.append(["---"] * 3 + [":-:"] * len(FEATURES))
        for client, row in groupby(group, lambda cell: cell.client):
            marks = [mark(cell, reasons) for cell in row]
            lines.append([client.sdk, client.era, TRANSPORTS[client.transport], *marks])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        sections.append(f"## Server: {title}\n\n{table}\n")
    notes = "\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    sections.append(f"## Refused\n\n{notes}\n")
    sections.append(ABSENT)
    return "\n".join(sections)


def mark(cell: Cell, reasons: Sequence[str]) -> str:
    if not cell.is_green:
        return "✗"
    reason = excuse(cell.client, cell.feature)
    return str(reasons.index(reason) + 1) if reason else "✓"


ABSENT = f"""## Not there

- A server or a client of {MODERN} on HTTP+SSE or WebSocket: the revision has neither, and no SDK
  offers them.
- Python mcp 2.3.0 and npm client 2.4.0 on WebSocket: the SDKs no longer have it. Those that do
  have no argument for the header with the key; it is handed to the library below.
"""


def verdict(cells: Sequence[Cell], is_whole: bool, write: bool) -> bool:
    """Says how it went in one closing line; whether all is well."""
    failed = sum(not cell.is_green for cell in cells)
    passed = len(cells) - failed
    page = render(cells) if is_whole else ""
    if is_whole and write:
        WRITTEN.write_text(page)
    elif is_whole and WRITTEN.exists() and WRITTEN.read_text() == page:
        passed += 1
    elif is_whole:
        failed += 1
        print(f"✗ {WRITTEN.relative_to(ROOT)} is stale: tests/compatibility.py --write")
    closing = f"{passed} passed, {failed} failed"
    if is_whole:
        FOUND.write_text(f"{page}\n{closing}\n")
    print(closing)
    return bool(cells) and not failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--direct", action="store_true", help="without the gateway")
    parser.add_argument("--write", action="store_true", help="write COMPATIBILITY.md")
    parser.add_argument("--list", action="store_true", help="only name clients and servers")
    parser.add_argument("--client", default="", help="only clients whose title has this part")
    parser.add_argument("--server", default="", help="only servers whose title or name has it")
    parser.add_argument("--feature", default="", help="only features whose name has this part")
    parser.add_argument("--log", type=Path, help="keep the log of the gateway here")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    is_part = bool(asked.client or asked.server or asked.feature)
    chosen = [client for client in clients() if asked.client in client.title]
    features = [feature for feature in FEATURES if asked.feature in feature]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tollhouse-")))
        offered = stack.enter_context(servers(folder, asked.server))
        if asked.list:
            print(*(f"client: {client.title}" for client in chosen), sep="\n")
            print(*(f"server: {server.title} ({server.name})" for server in offered), sep="\n")
            return
        ends = Ends()
        if not asked.direct:
            gateway = Gateway(folder)
            gateway.log = asked.log or gateway.log
            ends = Ends(stack.enter_context(gateway))
        for server in offered:
            ends.register(server)
        cells = prove_all(ends, chosen, offered, features, Report(is_part))
    sys.exit(not verdict(cells, not is_part and not asked.direct, asked.write))


if __name__ == "__main__":
    main()
