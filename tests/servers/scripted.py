"""A server of one tool, `say`, that can fall ill on command. Speaks 2026-07-28 only.

`scripted.py http NAME PORT` serves /mcp, and takes its mood by POST /mood {"mood": …}: `well`
answers, `hang` stays silent until the mood changes, `garbage` answers nonsense of changing kinds.
`scripted.py stdio NAME` is always well.
"""

import itertools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "2026-07-28"
LONGEST_HANG_S = 300
GARBAGE = itertools.cycle(
    [
        b"}{ not JSON",
        b"[]",
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":1,"result":[',
        b"\xff\xfe\x00",
        b'{"jsonrpc":"2.0","id":"never asked","result":{"resultType":"complete","tools":"none"}}',
    ]
)


def result(name: str, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    fresh = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    match method:
        case "server/discover":
            own = {"io.modelcontextprotocol/serverInfo": {"name": name, "version": "1"}}
            known = {"supportedVersions": [REVISION], "capabilities": {"tools": {}}}
            return {**fresh, **known, "_meta": own}
        case "tools/list":
            text = {"type": "object", "properties": {"text": {"type": "string"}}}
            return {**fresh, "tools": [{"name": "say", "inputSchema": text}]}
        case "tools/call":
            said = f"{name} says {params.get('arguments', {}).get('text')}"
            return {"resultType": "complete", "content": [{"type": "text", "text": said}]}
    return None


def answer(name: str, request: dict[str, Any]) -> dict[str, Any]:
    found = result(name, request["method"], request.get("params", {}))
    frame = {"jsonrpc": "2.0", "id": request.get("id")}
    if found is None:
        return {**frame, "error": {"code": -32601, "message": "no such method"}}
    return {**frame, "result": found}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise each answer waits 40 ms between its headers and its body.
    disable_nagle_algorithm = True
    name = ""
    mood = "well"
    changed = threading.Condition()

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/mood":
            with self.changed:
                Handler.mood = body["mood"]
                self.changed.notify_all()
            self.reply(200, b"{}")
        elif self.mood == "hang":
            with self.changed:
                self.changed.wait_for(lambda: self.mood != "hang", LONGEST_HANG_S)
            self.close_connection = True
        elif self.mood == "garbage":
            self.reply(200, next(GARBAGE))
        elif "id" not in body:
            self.reply(202, b"")
        else:
            found = answer(self.name, body)
            self.reply(200 if "result" in found else 404, json.dumps(found).encode())

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(transport: str, name: str, port: str = "0") -> None:
    if transport == "http":
        Handler.name = name
        ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            print(json.dumps(answer(name, request)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
