"""A server of five instances under load, while they are killed, hang, are slow, answer garbage and
come back: what only reads always succeeds, nothing runs twice, and the sick are left alone.

INSTANCES_S says for how many seconds; by itself, for one round of faults.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import Gateway
from process import ROOT, ask, free_port, kill, spawn, until

SCRIPTED = str(ROOT / "tests/servers/scripted.py")
HTTP = ("one", "two", "three")
WEIGHTS = {"one": 3, "two": 1, "three": 2, "four": 1, "five": 1}
PER_SECOND = 200
WARM_S = 2
QUIET_S = 5
SICK_S = 4
WELL_S = 2
WHOLE_S = float(os.environ.get("INSTANCES_S", "0"))
# A call that hangs leaves a third of it to each of two others.
os.environ["TOLLHOUSE_PIPELINE__TIMEOUT_SECONDS"] = "2"
os.environ["TOLLHOUSE_EDGE__CONNECTIONS__MAX_CONNECTIONS_PER_ADDRESS"] = "2000"
# A process that is killed every half minute is none that crashes.
os.environ["TOLLHOUSE_UPSTREAM__STABLE_SECONDS"] = "10"
RECOVERY_S = 1
# The noise of a machine with two busy cores, not a deadline.
RATIO_LIMIT = 3.0
SETTLED_S = 1.0
BACK_S = 90
# Of those that are sent to a sick one before it is known to be so.
FIRST = 1.5 * PER_SECOND / 5 + 20


def passed(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


@dataclass
class Call:
    """One call, when it was due, how long it took, and what came of it."""

    tool: str
    word: str
    due: float
    took: float = 0.0
    said: str = ""

    @property
    def is_done(self) -> bool:
        return self.said.endswith(f"says {self.word}")


@dataclass
class Load:
    """Calls on a timetable, half of which only read."""

    gateway: Gateway
    calls: list[Call] = field(default_factory=list)
    is_over: bool = False

    async def run(self) -> None:
        began, tasks = time.monotonic(), set()
        while not self.is_over:
            number = len(self.calls)
            due = began + number / PER_SECOND
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            call = Call("act" if number % 2 else "look", f"w{number}", due)
            self.calls.append(call)
            task = asyncio.create_task(self.make(call))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def make(self, call: Call) -> None:
        name = f"wiki__{call.tool}"
        params = {"name": name, "arguments": {"text": call.word}}
        try:
            call.said = await post(self.gateway, params)
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            call.said = f"no answer: {error!r}"
        call.took = time.monotonic() - call.due


async def post(gateway: Gateway, params: dict[str, Any]) -> str:
    """What a tool says, or why it does not."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**params, "_meta": meta}}
    text = json.dumps(body).encode()
    host = gateway.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    try:
        head = [
            "POST /mcp HTTP/1.1",
            f"Host: {host}",
            "Connection: close",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            f"Authorization: Bearer {gateway.key}",
            "MCP-Protocol-Version: 2026-07-28",
            "Mcp-Method: tools/call",
            f"Mcp-Name: {params['name']}",
            f"Content-Length: {len(text)}",
            "\r\n",
        ]
        writer.write("\r\n".join(head).encode() + text)
        answer = (await reader.read()).partition(b"\r\n\r\n")[2]
    finally:
        writer.close()
    said = json.loads(answer)
    if "result" in said:
        return said["result"]["content"][0]["text"]
    return json.dumps(said["error"])


@dataclass
class Fleet:
    """The instances: three over HTTP, two on stdio."""

    folder: Path
    gateway: Gateway
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in HTTP})
    processes: dict[str, Any] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def start(self, name: str) -> None:
        words = [sys.executable, SCRIPTED, "http", name, str(self.ports[name])]
        env = {"SCRIPTED_LEDGER": str(self.ledger)}
        self.processes[name] = spawn(words, self.folder / "servers.log", env)

    def end(self) -> None:
        for process in self.processes.values():
            kill(process)

    def mood(self, name: str, mood: str) -> None:
        assert ask(f"http://127.0.0.1:{self.ports[name]}/mood", {"mood": mood})[0] == 200

    def register(self) -> None:
        env = {"SCRIPTED_LEDGER": str(self.ledger)}
        remote = [{"url": f"http://127.0.0.1:{self.ports[name]}/mcp"} for name in HTTP]
        local = [
            {"command": [sys.executable, SCRIPTED, "stdio", name], "env": env}
            for name in ("four", "five")
        ]
        form = {"name": "wiki", "instances": [*remote, *local]}
        key = {"Authorization": f"Bearer {self.gateway.key}"}
        status, text = ask(f"{self.gateway.url}/gateway/servers?wait=true", form, key)
        assert status == 201, text

    def instances(self) -> list[dict[str, Any]]:
        listed = self.gateway.command("instance", "list", "wiki", "-o", "json")
        return json.loads(listed)

    def weigh(self) -> None:
        """Has calls shared by weight; instances are listed in the order of their registration."""
        for instance, weight in zip(self.instances(), WEIGHTS.values(), strict=True):
            place = ("wiki", instance["id"], "--weight", str(weight))
            self.gateway.command("instance", "update", *place)
        self.gateway.command("server", "update", "wiki", "--strategy", "weighted")

    def is_whole(self) -> bool:
        return all(instance["circuit"] == "closed" for instance in self.instances())

    def kill_child(self) -> None:
        """Kills the process of an instance on stdio; the gateway starts it again."""
        listed = json.loads(self.gateway.command("ps", "-o", "json"))
        running = [one["pid"] for one in listed if one.get("pid")]
        assert running, f"no child runs: {listed}"
        os.kill(running[0], signal.SIGKILL)


async def faults(fleet: Fleet) -> list[tuple[float, float, str]]:
    """One fault after the other: from when until when, and which."""

    async def ill(what: str, falls: Callable[[], Any], rises: Callable[[], Any]) -> None:
        began = time.monotonic()
        await asyncio.to_thread(falls)
        await asyncio.sleep(SICK_S)
        await asyncio.to_thread(rises)
        spans.append((began, time.monotonic(), what))
        await asyncio.sleep(WELL_S)

    spans: list[tuple[float, float, str]] = []
    began = time.monotonic()
    kills: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        ("killed", lambda: kill(fleet.processes["one"]), lambda: fleet.start("one")),
        ("hanging", lambda: fleet.mood("two", "hang"), lambda: fleet.mood("two", "well")),
        ("slow", lambda: fleet.mood("three", "slow"), lambda: fleet.mood("three", "well")),
        ("garbling", lambda: fleet.mood("one", "garbage"), lambda: fleet.mood("one", "well")),
        ("child killed", fleet.kill_child, lambda: None),
    ]
    while True:
        for what, falls, rises in kills:
            await ill(what, falls, rises)
        if time.monotonic() - began >= WHOLE_S:
            return spans


Span = tuple[float, float]


async def loaded(fleet: Fleet) -> tuple[Load, Span, Span, list[tuple[float, float, str]]]:
    load = Load(fleet.gateway)
    running: Awaitable[None] = asyncio.create_task(load.run())
    await asyncio.sleep(WARM_S)
    quiet = await a_while()
    await asyncio.to_thread(fleet.weigh)
    await asyncio.sleep(WARM_S)
    weighted = await a_while()
    # Whoever is slow is sick only to those that look at it.
    ewma = ("server", "update", "wiki", "--strategy", "ewma")
    await asyncio.to_thread(fleet.gateway.command, *ewma)
    spans = await faults(fleet)
    await asyncio.sleep(WELL_S)
    load.is_over = True
    await running
    return load, quiet, weighted, spans


async def a_while() -> Span:
    began = time.monotonic()
    await asyncio.sleep(QUIET_S)
    return began, time.monotonic()


def p99_ms(calls: list[Call]) -> float:
    return statistics.quantiles([call.took * 1000 for call in calls], n=100)[98]


def judge(
    fleet: Fleet,
    load: Load,
    quiet: Span,
    weighted: Span,
    spans: list[tuple[float, float, str]],
) -> None:
    lines = [line.split() for line in fleet.ledger.read_text().splitlines()]
    ran = Counter(word for kind, _, tool, word in lines if kind == "ran" and tool == "act")
    looks = [call for call in load.calls if call.tool == "look"]
    lost = [call for call in looks if not call.is_done]
    assert not lost, f"{len(lost)} of {len(looks)} that only read: {lost[:3]}"
    passed(f"all {len(looks)} calls that only read succeeded, through {len(spans)} faults")
    twice = [word for word, count in ran.items() if count > 1]
    assert not twice, f"ran twice: {twice[:5]}"
    acts = [call for call in load.calls if call.tool == "act"]
    done = [call for call in acts if call.is_done]
    assert all(ran[call.word] == 1 for call in done), "what answered ran once"
    passed(f"of {len(acts)} that act none ran twice; {len(acts) - len(done)} were told of a failure")

    before = [call for call in load.calls if quiet[0] <= call.due < quiet[1]]
    shares = Counter(call.said.split()[0] for call in before)
    even = len(before) / 5
    assert all(abs(count - even) <= even * 0.05 for count in shares.values()), shares
    passed(f"round robin shared evenly: {dict(shares)}")
    by_weight = [call for call in load.calls if weighted[0] <= call.due < weighted[1]]
    shares = Counter(call.said.split()[0] for call in by_weight)
    whole = sum(WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        due = len(by_weight) * weight / whole
        assert abs(shares[name] - due) <= due * 0.05, (name, due, shares)
    passed(f"weighted shared as {WEIGHTS}: {dict(shares)}")

    for what, name, mood in (("hanging", "two", "hang"), ("garbling", "one", "garbage")):
        sick = [ended - began for began, ended, other in spans if other == what]
        sent = sum(1 for line in lines if line[:3] == ["ill", name, mood])
        most = sum(FIRST + span / RECOVERY_S for span in sick)
        assert sent <= most, f"{what}: {sent} requests, not {most:.0f}"
        passed(f"{what}: {sent} requests in {sum(sick):.0f} s, of {most:.0f} at most")

    fresh = [(began, began + SETTLED_S) for began, _, _ in spans]
    fresh += [(ended, ended + SETTLED_S) for _, ended, _ in spans]
    settled = [
        call
        for call in load.calls
        if call.due >= weighted[1] and not any(a <= call.due < b for a, b in fresh)
    ]
    usual, late = p99_ms(before), p99_ms(settled)
    print(f"  p99 {usual:.1f} ms quiet, {late:.1f} ms with faults, outside their first second")
    worst = [call for call in settled if call.took * 1000 > RATIO_LIMIT * usual]
    assert late <= RATIO_LIMIT * usual, f"{len(worst)} of {len(settled)} were late: {worst[:3]}"
    passed(f"ratio {late / usual:.2f}")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = stack.enter_context(Gateway(folder))
        fleet = Fleet(folder, gateway)
        stack.callback(fleet.end)
        for name in HTTP:
            fleet.start(name)
        for port in fleet.ports.values():
            until(lambda p=port: is_there(p), "it accepts")
        fleet.register()
        load, quiet, weighted, spans = asyncio.run(loaded(fleet))
        judge(fleet, load, quiet, weighted, spans)
        # Who fell ill often is left alone for longer.
        until(fleet.is_whole, "all are back", BACK_S)
        passed("all are back")


def is_there(port: int) -> bool:
    try:
        return ask(f"http://127.0.0.1:{port}/mood", {"mood": "well"})[0] == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
