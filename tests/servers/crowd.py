"""Many servers in one process, each with sessions of 2025-11-25 that are told apart by nothing else.

`crowd.py PORT…` serves /mcp on every port. All of them count their sessions, and in each session
what they ask, from 0. The tool `tell` takes a word, says it on every way there is, asks for it and
answers with it; `nod` works for a moment and answers. All answers to calls are streams of events.

What should never have come is written to standard error.
"""

import asyncio
import itertools
import json
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

REVISION = "2025-11-25"
LONGEST_DELAY_S = 0.2
LATER_DELAY_S = 0.05
WORK_S = 0.01
TOOLS = [
    {"name": "tell", "inputSchema": {"type": "object", "properties": {"word": {"type": "string"}}}},
    {"name": "nod", "inputSchema": {"type": "object", "properties": {}}},
]

Say = Callable[[dict[str, Any]], Awaitable[None]]


async def delay(longest: float) -> None:
    await asyncio.sleep(random.uniform(0, longest))


def text(said: str, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}], "isError": is_error}


class Session:
    """A client's session: what was asked in it is counted from 0."""

    def __init__(self) -> None:
        self.ids = itertools.count()
        self.level = ""
        self.asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def call(self, params: dict[str, Any], say: Say) -> dict[str, Any]:
        async def progress(number: int, message: str) -> None:
            token = params.get("_meta", {}).get("progressToken")
            told = {"progressToken": token, "progress": number, "total": 2, "message": message}
            if token is not None:
                await say({"method": "notifications/progress", "params": told})

        if params["name"] == "nod":
            await progress(1, "nodding")
            await asyncio.sleep(WORK_S)
            return text("nodded")
        return await self.tell(params["arguments"]["word"], progress, say)

    async def tell(
        self, word: str, progress: Callable[[int, str], Awaitable[None]], say: Say
    ) -> dict[str, Any]:
        await delay(LONGEST_DELAY_S)
        await progress(1, f"heard {word}")
        await delay(LATER_DELAY_S)
        await progress(2, f"thinking about {word}")
        if self.level:
            line = {"level": "info", "logger": "crowd", "data": f"was told {word}"}
            await say({"method": "notifications/message", "params": line})
        await delay(LATER_DELAY_S)
        answer = await self.ask(word, say)
        await delay(LATER_DELAY_S)
        said = answer.get("result", {}).get("content", {}).get("word")
        if said != word:
            complain(f"{word} was asked for, and answered by {answer}")
        return text(f"said {said}", is_error=said != word)

    async def ask(self, word: str, say: Say) -> dict[str, Any]:
        number = next(self.ids)
        self.asked[number] = asyncio.get_running_loop().create_future()
        schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
        params = {"mode": "form", "message": f"is it {word}?", "requestedSchema": schema}
        await say({"id": number, "method": "elicitation/create", "params": params})
        answer = await self.asked[number]
        del self.asked[number]
        return answer

    def answered(self, answer: dict[str, Any]) -> None:
        waiting = self.asked.get(answer["id"])
        if waiting is None or waiting.done():
            complain(f"nothing is asked under this id: {answer}")
        else:
            waiting.set_result(answer)


class Server:
    """A server: its sessions are counted from 0."""

    def __init__(self) -> None:
        self.ids = itertools.count()
        self.sessions: dict[str, Session] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                pairs = (line.partition(":") for line in lines[1:] if line)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await self.answer(lines[0].split()[0], headers, body, Replies(writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The other side has hung up.
        finally:
            writer.close()

    async def answer(
        self, verb: str, headers: dict[str, str], body: bytes, replies: "Replies"
    ) -> None:
        name = headers.get("mcp-session-id", "")
        session = self.sessions.get(name)
        if verb == "GET":
            return await replies.plain("405 Method Not Allowed")
        message = json.loads(body or "{}")
        method = message.get("method")
        if method == "initialize":
            return await self.open(message, replies)
        if session is None:
            error = {"code": -32000, "message": "no such session"}
            refusal = {"jsonrpc": "2.0", "id": message.get("id"), "error": error}
            status = "404 Not Found" if name else "400 Bad Request"
            return await replies.plain(status, refusal)
        if verb == "DELETE":
            del self.sessions[name]
            return await replies.plain("200 OK")
        if method is None:
            session.answered(message)
            return await replies.plain("202 Accepted")
        if "id" not in message:
            return await replies.plain("202 Accepted")
        return await self.request(session, message, replies)

    async def open(self, message: dict[str, Any], replies: "Replies") -> None:
        name = str(next(self.ids))
        self.sessions[name] = Session()
        known = {"tools": {}, "logging": {}}
        own = {"name": "crowd", "version": "1"}
        result = {"protocolVersion": REVISION, "capabilities": known, "serverInfo": own}
        frame = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        await replies.plain("200 OK", frame, session=name)

    async def request(
        self, session: Session, message: dict[str, Any], replies: "Replies"
    ) -> None:
        frame = {"jsonrpc": "2.0", "id": message["id"]}
        match message["method"]:
            case "tools/call":
                await replies.begin_events()
                result = await session.call(message["params"], replies.event)
                await replies.event({**frame, "result": result})
                await replies.end_events()
            case "tools/list":
                await replies.plain("200 OK", {**frame, "result": {"tools": TOOLS}})
            case "logging/setLevel":
                session.level = message["params"]["level"]
                await replies.plain("200 OK", {**frame, "result": {}})
            case "ping":
                await replies.plain("200 OK", {**frame, "result": {}})
            case _:
                error = {"code": -32601, "message": "no such method"}
                await replies.plain("200 OK", {**frame, "error": error})


class Replies:
    """The answers on one connection. asyncio sets TCP_NODELAY on it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    async def plain(
        self, status: str, message: dict[str, Any] | None = None, session: str = ""
    ) -> None:
        body = json.dumps(message).encode() if message else b""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json"] if body else []
        lines += [f"Mcp-Session-Id: {session}"] if session else []
        await self.write("\r\n".join([*lines, "\r\n"]).encode() + body)

    async def begin_events(self) -> None:
        lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked"]
        await self.write("\r\n".join([*lines, "\r\n"]).encode())

    async def event(self, message: dict[str, Any]) -> None:
        event = f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', **message})}\n\n".encode()
        await self.write(b"%x\r\n%s\r\n" % (len(event), event))

    async def end_events(self) -> None:
        await self.write(b"0\r\n\r\n")

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


def complain(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def main(ports: list[str]) -> None:
    servers = [
        await asyncio.start_server(Server().serve, "127.0.0.1", int(port), backlog=1024)
        for port in ports
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
