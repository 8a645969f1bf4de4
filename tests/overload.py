"""A server with so many places, and four times as many clients as fill them, each of which asks again
at once: what is done stays near the peak, the rest is told when to come back, the office answers,
and afterwards all is as before.

OVERLOAD_S says for how many seconds; by itself, for a few.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway import ENVELOPE, Gateway
from process import ROOT, ask, free_port, running, until

SCRIPTED = str(ROOT / "tests/servers/scripted.py")
# Calls of half a second each: what limits is the places, not the processors of the machine.
PLACES = 60
QUEUED = 90
QUIET_S = 6
FLOOD_S = float(os.environ.get("OVERLOAD_S", "12"))
AFTER_S = 5
GOODPUT = 0.8
# Health and office, while flooded. The clients take most of a core of two.
OFFICE_S = 0.1
os.environ["TOLLHOUSE_TRAFFIC__MAX_QUEUED_PER_SERVER"] = str(QUEUED)
os.environ["TOLLHOUSE_EDGE__CONNECTIONS__MAX_CONNECTIONS_PER_ADDRESS"] = "2000"


def passed(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


@dataclass
class Told:
    """What clients were told, and when."""

    done: list[float] = field(default_factory=list)
    refused: Counter[tuple[int, bool]] = field(default_factory=Counter)
    other: list[str] = field(default_factory=list)

    def per_second(self, since: float, until_: float) -> float:
        return sum(since <= at < until_ for at in self.done) / (until_ - since)


async def client(gateway: Gateway, told: Told, is_over: asyncio.Event) -> None:
    """Asks, and asks again as soon as it may, on one connection."""
    params = {"name": "wiki__say", "arguments": {"text": "x"}, "_meta": ENVELOPE}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    host = gateway.url.removeprefix("http://")
    head = [
        "POST /mcp HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Authorization: Bearer {gateway.key}",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: wiki__say",
        f"Content-Length: {len(body)}",
        "\r\n",
    ]
    message = ("\r\n".join(head) + body).encode()
    reader, writer = await asyncio.open_connection(*host.split(":"))
    try:
        while not is_over.is_set():
            writer.write(message)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            answer = json.loads(await reader.readexactly(int(headers["content-length"])))
            status = int(lines[0].split()[1])
            if "result" in answer:
                told.done.append(time.monotonic())
            elif status in {429, 503}:
                told.refused[status, "retry-after" in headers] += 1
            else:
                told.other.append(f"{status} {answer}")
    finally:
        writer.close()


async def flood(gateway: Gateway, clients: int, seconds: float, told: Told) -> tuple[float, float]:
    """So many clients for so long; the time in which all were there."""
    is_over = asyncio.Event()
    tasks = [asyncio.create_task(client(gateway, told, is_over)) for _ in range(clients)]
    # The first calls are over, and all clients have begun.
    await asyncio.sleep(1.5)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    ended = time.monotonic()
    is_over.set()
    await asyncio.gather(*tasks)
    return began, ended


async def office(gateway: Gateway, is_over: asyncio.Event) -> list[tuple[float, str]]:
    """How long health and office take, again and again."""
    took = []
    key = {"Authorization": f"Bearer {gateway.key}"}
    while not is_over.is_set():
        for path in ("/health", "/api/admin/status"):
            began = time.monotonic()
            status, text = await asyncio.to_thread(ask, f"{gateway.url}{path}", None, key)
            assert status == 200, text
            took.append((time.monotonic() - began, path))
        await asyncio.sleep(0.1)
    return took


async def measured(gateway: Gateway) -> None:
    quiet = Told()
    peak = quiet.per_second(*await flood(gateway, PLACES, QUIET_S, quiet))
    assert not quiet.refused and not quiet.other, (quiet.refused, quiet.other[:3])
    passed(f"{PLACES} clients: {peak:.0f} calls a second, which is the peak")

    flooded, is_over = Told(), asyncio.Event()
    watching = asyncio.create_task(office(gateway, is_over))
    began, ended = await flood(gateway, 4 * PLACES, FLOOD_S, flooded)
    is_over.set()
    took = await watching
    goodput = flooded.per_second(began, ended)
    assert not flooded.other, flooded.other[:3]
    assert flooded.refused, "some were refused"
    assert all(is_told for _, is_told in flooded.refused), flooded.refused
    assert goodput >= GOODPUT * peak, f"{goodput:.0f} of {peak:.0f}"
    refused = {f"{status}": count for (status, _), count in flooded.refused.items()}
    passed(f"{4 * PLACES} clients for {FLOOD_S:.0f} s: {goodput:.0f} a second, {goodput / peak:.0%}")
    passed(f"the others were told when to come back: {refused}")
    slowest, path = max(took)
    late = sum(it > OFFICE_S for it, _ in took)
    print(f"  health and office: {len(took)} answers, slowest {slowest * 1000:.0f} ms ({path})")
    assert late <= len(took) / 100, f"{late} of {len(took)} took more than {OFFICE_S * 1000:.0f} ms"
    passed(f"99 of 100 within {OFFICE_S * 1000:.0f} ms")

    after = Told()
    again = after.per_second(*await flood(gateway, PLACES, AFTER_S - 1.5, after))
    assert not after.refused and not after.other, (after.refused, after.other[:3])
    assert again >= 0.9 * peak, f"{again:.0f} of {peak:.0f}"
    passed(f"within {AFTER_S} s all is as before: {again:.0f} a second")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        words = [sys.executable, SCRIPTED, "http", "wiki", str(port)]
        stack.enter_context(running(words, port, folder / "server.log"))
        gateway = stack.enter_context(Gateway(folder))
        place = ("--endpoint", f"http://127.0.0.1:{port}/mcp", "--max-in-flight", str(PLACES))
        gateway.command("register", "wiki", *place)
        until(lambda: gateway.request("tools/call", {"name": "wiki__say", "arguments": {}}), "it")
        assert ask(f"http://127.0.0.1:{port}/mood", {"mood": "slow"})[0] == 200
        asyncio.run(measured(gateway))


if __name__ == "__main__":
    main()
