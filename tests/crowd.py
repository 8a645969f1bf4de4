"""A thousand clients that look alike call fifty servers that look alike: each hears only its own.

All clients use the same ids of requests and the same progress token; all servers count their
sessions and what they ask from 0. Only a secret word tells them apart. Then events through the
gateway are timed against events without it.
"""

import asyncio
import http.client
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway import ENVELOPE, REVISION, Gateway
from process import ROOT, free_port, running, until

LEGACY = "2025-11-25"
SERVERS = 50
CLIENTS = 1000
AT_ONCE = 200
# Everybody comes from one address and with one key.
os.environ["TOLLHOUSE_EDGE__CONNECTIONS__MAX_CONNECTIONS_PER_ADDRESS"] = "2000"
os.environ["TOLLHOUSE_PIPELINE__MAX_PARKED_PER_PRINCIPAL"] = "1000"
LISTED_S = 60
CLIENT_S = 60
WORD = re.compile(r"word-[0-9a-f]{32}")
TOKEN = 1
ROUNDS = 100
# Nagle's algorithm against delayed acknowledgements costs 40 ms; a server's own work is 10 ms.
RATIO_LIMIT = 2.0
HANDSHAKE = {"protocolVersion": LEGACY, "clientInfo": {"name": "crowd", "version": "1"}}
READS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class Answer:
    """An answer over HTTP/1.1 as it comes in."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in lines if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.reader = reader

    async def messages(self) -> AsyncIterator[str]:
        """The messages in it: one as plain JSON, or one after the other as events."""
        kept = b""
        is_events = self.headers.get("content-type", "").startswith("text/event-stream")
        async for piece in self.pieces():
            kept += piece
            while is_events and b"\n\n" in kept:
                event, _, kept = kept.partition(b"\n\n")
                lines = (line for line in event.decode().split("\n") if line.startswith("data:"))
                if data := "\n".join(line[5:].strip() for line in lines):
                    yield data
        if not is_events and kept:
            yield kept.decode()

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(self.headers.get("content-length", 0)))
            return
        while size := int(await self.reader.readline(), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]


@asynccontextmanager
async def asked(
    url: str, verb: str, headers: Mapping[str, str], body: Any = None
) -> AsyncIterator[Answer]:
    """One request over a connection of its own."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        text = json.dumps(body).encode() if body else b""
        lines = [f"{verb} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(text)}", "\r\n"]
        writer.write("\r\n".join(lines).encode() + text)
        yield Answer(await reader.readuntil(b"\r\n\r\n"), reader)
    finally:
        writer.close()


@dataclass
class Client:
    """One of the crowd: what it says, and what it has heard."""

    url: str
    key: str
    word: str
    heard: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def legacy(self) -> None:
        """A session with ids 1, 2, 3, and a stream that stands open beside the calls."""
        own = {**READS, "Authorization": f"Bearer {self.key}"}
        hello = {**HANDSHAKE, "capabilities": {"elicitation": {}}}
        async with asked(self.url, "POST", own, frame("initialize", hello, 1)) as answer:
            own["Mcp-Session-Id"] = answer.headers.get("mcp-session-id", "")
            own["MCP-Protocol-Version"] = LEGACY
            await self.expect(answer, 200, ["result"])
        await self.put(own, {"jsonrpc": "2.0", "method": "notifications/initialized"}, 202)
        async with asked(self.url, "GET", own) as standing:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.overhear(standing))
                level = frame("logging/setLevel", {"level": "info"}, 2)
                await self.put(own, level, 200, ["result"])
                await self.tell(own)
                async with asked(self.url, "DELETE", own) as answer:
                    await self.expect(answer, 204, [])

    async def tell(self, own: Mapping[str, str]) -> None:
        """The call of a session; the question comes, and is answered, in the middle of it."""
        params = {**self.call(), "_meta": {"progressToken": TOKEN}}
        kinds = []
        async with asked(self.url, "POST", own, frame("tools/call", params, 3)) as answer:
            self.check(answer.status == 200, f"status {answer.status}")
            async for text in answer.messages():
                kinds.append(self.hear(text, 3))
                if kinds[-1] == "question":
                    result = self.reply(json.loads(text)["params"])
                    reply = {"jsonrpc": "2.0", "id": json.loads(text)["id"], "result": result}
                    await self.put(own, reply, 202)
        self.check(kinds == ["progress", "progress", "log", "question", "answer"], f"heard {kinds}")

    async def modern(self) -> None:
        """Requests that stand alone; the question comes in place of the answer."""
        own = {**READS, "Authorization": f"Bearer {self.key}", "MCP-Protocol-Version": REVISION}
        own |= {"Mcp-Method": "tools/call", "Mcp-Name": "tell"}
        prefix = "io.modelcontextprotocol/"
        able = {f"{prefix}clientCapabilities": {"elicitation": {}}, f"{prefix}logLevel": "info"}
        params = {**self.call(), "_meta": {**ENVELOPE, **able, "progressToken": TOKEN}}

        async with asked(self.url, "POST", own, frame("tools/call", params, 1)) as answer:
            await self.expect(answer, 200, ["progress", "progress", "log", "question"])
        result = json.loads(self.heard[-1]).get("result", {})
        questions = result.get("inputRequests", {}).items()
        replies = {name: self.reply(question["params"]) for name, question in questions}
        self.check(len(replies) == 1, f"asked {len(replies)} questions")
        params |= {"inputResponses": replies, "requestState": result.get("requestState")}
        async with asked(self.url, "POST", own, frame("tools/call", params, 1)) as answer:
            await self.expect(answer, 200, ["answer"])

    def call(self) -> dict[str, Any]:
        return {"name": "tell", "arguments": {"word": self.word}}

    def reply(self, question: dict[str, Any]) -> dict[str, Any]:
        """Says the word that is asked for: the server finds out when it is not its own."""
        self.check(question["message"] == f"is it {self.word}?", f"asked {question}")
        return {"action": "accept", "content": {"word": self.word}}

    async def put(
        self, own: Mapping[str, str], body: Any, status: int, kinds: list[str] | None = None
    ) -> None:
        async with asked(self.url, "POST", own, body) as answer:
            await self.expect(answer, status, kinds or [], body.get("id"))

    async def expect(
        self, answer: Answer, status: int, kinds: list[str], number: int = 1
    ) -> None:
        """Hears an answer to its end, which is to be of this status and of these messages."""
        self.check(answer.status == status, f"status {answer.status} in place of {status}")
        heard = [self.hear(text, number) async for text in answer.messages()]
        self.check(heard == kinds, f"heard {heard} in place of {kinds}: {self.heard[-1:]}")

    async def overhear(self, standing: Answer) -> None:
        """The stream beside the calls has nothing to say until the session ends."""
        self.check(standing.status == 200, f"status {standing.status} of the standing stream")
        async for text in standing.messages():
            self.check(False, f"heard beside the calls: {text}")

    def hear(self, text: str, number: int) -> str:
        """The kind of a message, which is checked to be this client's."""
        self.heard.append(text)
        message = json.loads(text)
        params, result = message.get("params", {}), message.get("result", {})
        match message.get("method"):
            case "notifications/progress":
                kind = "progress"
                self.check(params["progressToken"] == TOKEN, f"another's token: {text}")
            case "notifications/message":
                kind = "log"
            case "elicitation/create":
                kind = "question"
            case None if result.get("resultType") == "input_required":
                kind = "question"
            case None if "content" in result:
                kind = "answer"
                said = [{"type": "text", "text": f"said {self.word}"}]
                self.check(result["content"] == said, f"another's answer: {text}")
            case None if "result" in message:
                kind = "result"
            case _:
                kind = text
        if "method" not in message:
            self.check(message.get("id") == number, f"another's id: {text}")
        words = set(WORD.findall(text))
        self.check(words == (set() if kind == "result" else {self.word}), f"heard {text}")
        return kind

    def check(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self.faults.append(otherwise)


def frame(method: str, params: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def meet(clients: list[Client]) -> None:
    """All clients, one half of them of each revision, so many at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, client: Client) -> None:
        async with places:
            try:
                async with asyncio.timeout(CLIENT_S):
                    await (client.modern() if number % 2 else client.legacy())
            except (OSError, EOFError, ValueError, LookupError, ExceptionGroup) as error:
                client.faults.append(f"{type(error).__name__}: {error}; heard {client.heard}")

    await asyncio.gather(*(one(number, client) for number, client in enumerate(clients)))


def crowd(gateway: Gateway, servers: list[str], log: Path) -> tuple[int, int]:
    """How many clients heard their own and nothing else, and how many did not."""
    began = time.monotonic()
    urls = [f"{gateway.url}/servers/{random.choice(servers)}/mcp" for _ in range(CLIENTS)]
    clients = [Client(url, gateway.key, f"word-{uuid.uuid4().hex}") for url in urls]
    asyncio.run(meet(clients))

    failed = [client for client in clients if client.faults]
    for client in failed[:10]:
        print(f"  ✗ {client.word} at {client.url}: {'; '.join(client.faults)[:1000]}")
    seconds = time.monotonic() - began
    heard = sum(len(client.heard) for client in clients)
    print(f"  {CLIENTS - len(failed)} of {CLIENTS} clients heard all of their own and nothing else")
    print(f"  {heard} messages, {SERVERS} servers, {AT_ONCE} clients at once, {seconds:.1f} s")
    odd = log.read_text()
    print(f"  {'✗' if odd else '✓'} the servers heard only what they asked for {odd[:1000]}")
    return CLIENTS - len(failed) + (not odd), len(failed) + bool(odd)


class Nodding:
    """A session on a connection that is kept, as Python programs have it."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.path = parts.path
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        self.headers = {**READS, **({"Authorization": f"Bearer {key}"} if key else {})}
        answer = self.post(frame("initialize", {**HANDSHAKE, "capabilities": {}}, 1))[0]
        self.headers["Mcp-Session-Id"] = answer.headers["Mcp-Session-Id"]
        self.headers["MCP-Protocol-Version"] = LEGACY
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def post(self, body: Any) -> tuple[http.client.HTTPResponse, str]:
        self.connection.request("POST", self.path, json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        return answer, answer.read().decode()

    def nod(self) -> float:
        """The milliseconds of a call that is answered as events."""
        params = {"name": "nod", "arguments": {}, "_meta": {"progressToken": TOKEN}}
        began = time.perf_counter()
        _, text = self.post(frame("tools/call", params, 2))
        spent = (time.perf_counter() - began) * 1000
        assert "notifications/progress" in text and "nodded" in text, text
        return spent


def prompt(gateway: Gateway, name: str, port: int) -> bool:
    """Whether events come through the gateway without Nagle's delay."""
    direct = Nodding(f"http://127.0.0.1:{port}/mcp")
    through = Nodding(f"{gateway.url}/servers/{name}/mcp", gateway.key)
    times = [(direct.nod(), through.nod()) for _ in range(ROUNDS)]
    usual, spent = (statistics.median(column) for column in zip(*times, strict=True))
    is_prompt = spent <= RATIO_LIMIT * usual
    line = f"events: {usual:.1f} ms directly, {spent:.1f} ms through the gateway"
    print(f"  {'✓' if is_prompt else '✗'} {line}, ratio {spent / usual:.2f} of {RATIO_LIMIT}")
    return is_prompt


def names(gateway: Gateway) -> set[str]:
    return {tool["name"] for tool in gateway.tools()["tools"]}


def main() -> int:
    ports: set[int] = set()
    while len(ports) < SERVERS:
        ports.add(free_port())
    named = {f"server{number}": port for number, port in enumerate(sorted(ports))}
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "servers.log"
        script = ROOT / "tests/servers/crowd.py"
        words = [sys.executable, script, *(str(port) for port in named.values())]
        with running(words, max(ports), log), Gateway(Path(scratch)) as gateway:
            for name, port in named.items():
                gateway.register(name, f"http://127.0.0.1:{port}/mcp")
            tells = {f"{name}__tell" for name in named}
            until(lambda: tells <= names(gateway), f"{SERVERS} servers are listed", LISTED_S)
            is_prompt = prompt(gateway, "server0", named["server0"])
            passed, failed = crowd(gateway, list(named), log)
    passed, failed = passed + is_prompt, failed + (not is_prompt)
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
