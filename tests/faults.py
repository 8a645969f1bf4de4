"""One server is killed, one hangs, one answers garbage: the others do not notice.

Then the gateway itself is killed, and later stopped, and no process that it started remains.
"""

import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from gateway import MISSING, Gateway, Refused, missing
from process import ROOT, ask, free_port, kill, running, until
from servers.fleet import fixture, python

SERVERS = ROOT / "tests/servers"
SCRIPTED = str(SERVERS / "scripted.py")
ROUNDS = 30
# How much slower the healthy may become, in medians: noise of a busy machine, not a deadline.
RATIO_LIMIT = 5.0
NOTICE_S = 60
RECOVERY_S = 120
SICK = {"killed", "hanging", "garbling"}
WELL_CALLS = {
    "steady__say": {"text": "on"},
    "clock__convert_time": {"source_timezone": "UTC", "time": "12:30", "target_timezone": "UTC"},
}
SICK_CALLS = {
    "killed__test_simple_text": {},
    "hanging__say": {"text": "here"},
    "garbling__say": {"text": "sense"},
}
MARK = "TOLLHOUSE_TEST_MARK"


def passed(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


def call(gateway: Gateway, tool: str, arguments: dict[str, Any], timeout: float = 60) -> str:
    """The text that a tool answers; raises `Refused` on any error."""
    answer = gateway.request("tools/call", {"name": tool, "arguments": arguments}, timeout)
    text = json.dumps(answer["content"])
    if answer.get("isError"):
        raise Refused(text)
    return text


def answers(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> bool:
    try:
        return bool(call(gateway, tool, arguments))
    except Refused:
        return False


def median_ms(action: Callable[[], Any]) -> float:
    def once() -> float:
        began = time.perf_counter()
        action()
        return (time.perf_counter() - began) * 1000

    return statistics.median(once() for _ in range(ROUNDS))


def measure(gateway: Gateway) -> dict[str, float]:
    """Usual times of the healthy, in milliseconds."""
    times = {"tools/list": median_ms(gateway.tools)}
    for tool, arguments in WELL_CALLS.items():
        times[tool] = median_ms(lambda t=tool, a=arguments: call(gateway, t, a))
    return times


def health(gateway: Gateway, server: str) -> str:
    """What `status` says of a server, without numbers and moments."""

    def entries(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if value.get("name") == server:
                yield value
            for inner in value.values():
                yield from entries(inner)
        if isinstance(value, list):
            for inner in value:
                yield from entries(inner)

    found = next(entries(gateway.status()), None)
    assert found, f"status does not name {server}"
    words = [str(found[word]) for word in ("status", "state", "health") if word in found]
    assert words, f"status says nothing of the health of {server}: {found}"
    return " ".join(words)


def mood(port: int, mood: str) -> None:
    assert ask(f"http://127.0.0.1:{port}/mood", {"mood": mood})[0] == 200


def names(answer: dict[str, Any]) -> set[str]:
    return {tool["name"] for tool in answer["tools"]}


def sickness(folder: Path, gateway: Gateway) -> None:
    ports = {name: free_port() for name in ("killed", "hanging", "garbling", "steady")}
    command, env = fixture(2, ports["killed"])
    log = folder / "servers.log"
    with ExitStack() as stack:
        victim = stack.enter_context(running(command, ports["killed"], log, env))
        for name in ("hanging", "garbling", "steady"):
            words = [sys.executable, SCRIPTED, "http", name, str(ports[name])]
            stack.enter_context(running(words, ports[name], log))
        for name, port in ports.items():
            gateway.register(name, f"http://127.0.0.1:{port}/mcp")
        gateway.register("clock", command=[python("mcp-server-time"), "--local-timezone", "UTC"])

        calls = {**WELL_CALLS, **SICK_CALLS}
        try:
            until(lambda: calls.keys() <= names(gateway.tools()), "all five are listed", NOTICE_S)
        except TimeoutError as late:
            late.add_note(f"missing: {gateway.tools()['_meta'].get(MISSING)}")
            late.add_note(f"the servers' last words: {log.read_text(errors='replace')[-2000:]}")
            raise
        said = {tool: call(gateway, tool, arguments) for tool, arguments in calls.items()}
        well = {name: health(gateway, name) for name in SICK}
        assert not missing(gateway.tools()), "nobody is missing while all are well"
        before = measure(gateway)

        kill(victim)
        mood(ports["hanging"], "hang")
        mood(ports["garbling"], "garbage")
        until(lambda: missing(gateway.tools()) == SICK, f"{SICK} are named as missing", NOTICE_S)
        reasons = {e["server"]: e["reason"] for e in gateway.tools()["_meta"][MISSING]}
        assert all(reasons.values()), reasons
        passed(f"the list names the sick: {reasons}")
        stuck = [threading.Thread(target=ignored, args=(gateway,), daemon=True) for _ in range(8)]
        for thread in stuck:
            thread.start()
        during = measure(gateway)
        compare(before, during)
        assert names(gateway.tools()) >= WELL_CALLS.keys()
        assert {tool: call(gateway, tool, a) for tool, a in WELL_CALLS.items()} == {
            tool: said[tool] for tool in WELL_CALLS
        }
        passed("the others answer as before, with calls hanging beside them")

        for name in SICK:
            until(lambda n=name: health(gateway, n) != well[n], f"status shows {name}", NOTICE_S)
        passed(f"status names the sick: { {name: health(gateway, name) for name in SICK} }")
        for tool, arguments in SICK_CALLS.items():
            refuse(gateway, tool, arguments)

        stack.enter_context(running(command, ports["killed"], log, env))
        mood(ports["hanging"], "well")
        mood(ports["garbling"], "well")
        recover(gateway, said)
        for name in SICK:
            until(lambda n=name: health(gateway, n) == well[n], f"{name} is well", RECOVERY_S)
        passed("all recovered by themselves")


def ignored(gateway: Gateway) -> None:
    """A call that hangs and is given up by nobody."""
    with suppress(Refused, OSError):
        call(gateway, "hanging__say", SICK_CALLS["hanging__say"], timeout=RECOVERY_S)


def compare(before: dict[str, float], during: dict[str, float]) -> None:
    for what, usual in before.items():
        ratio = during[what] / usual
        line = f"{what}: {usual:.1f} ms before, {during[what]:.1f} ms during, ratio {ratio:.2f}"
        assert ratio <= RATIO_LIMIT, f"{line}, more than {RATIO_LIMIT}"
        passed(line)


def refuse(gateway: Gateway, tool: str, arguments: dict[str, Any]) -> None:
    """A call to a sick server ends, and the error says which one it is."""
    try:
        said = call(gateway, tool, arguments, timeout=RECOVERY_S)
    except Refused as refusal:
        server = tool.partition("__")[0]
        assert server in str(refusal), f"{tool}: does not name {server}: {refusal}"
        passed(f"{tool} is refused: {str(refusal)[:150]}")
    else:
        raise AssertionError(f"{tool} answered {said}")


def recover(gateway: Gateway, said: dict[str, str]) -> None:
    """Everything is listed again and says what it said before."""
    began = time.monotonic()
    calls = {**WELL_CALLS, **SICK_CALLS}
    until(lambda: not missing(gateway.tools()), "nobody is missing any more", RECOVERY_S)
    assert names(gateway.tools()) >= calls.keys()
    for tool, arguments in calls.items():
        until(lambda t=tool, a=arguments: answers(gateway, t, a), f"{tool} answers", RECOVERY_S)
        assert call(gateway, tool, arguments) == said[tool]
    passed(f"lists and calls are whole again after {time.monotonic() - began:.1f} s")


def marked(mark: str) -> set[int]:
    """Every process whose environment carries the mark, whoever its parent is now."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            # A zombie has given everything back; only its parent has not looked yet.
            dead = b") Z " in (entry / "stat").read_bytes() if environment else True
        except OSError:
            continue
        if not dead and f"{MARK}={mark}".encode() in environment:
            found.add(int(entry.name))
    return found


# Server, shell command, tool, how many processes it is at least.
SCRIPT = [sys.executable, SCRIPTED, "stdio"]
BROOD = ["/bin/sh", str(SERVERS / "brood.sh")]
BROODS = [
    ("plain", [*SCRIPT, "plain"], 1),
    ("nest", [*BROOD, "nest", *SCRIPT, "nest"], 3),
    ("escape", [*BROOD, "escape", *SCRIPT, "escape"], 2),
]


def hatch(gateway: Gateway, marks: dict[str, str]) -> dict[str, set[int]]:
    """Calls every stdio server, so that it runs; its processes."""
    processes = {}
    for name, _, least in BROODS:
        until(lambda n=name: answers(gateway, f"{n}__say", {"text": "cheep"}), f"{name} says", 60)
        until(lambda n=name, k=least: len(marked(marks[n])) >= k, f"{name} has its processes")
        processes[name] = marked(marks[name])
    return processes


def all_gone(marks: dict[str, str], after: str) -> None:
    def left() -> dict[str, set[int]]:
        found = {name: marked(mark) for name, mark in marks.items()}
        return {name: processes for name, processes in found.items() if processes}

    try:
        until(lambda: not left(), "all processes are gone", 15)
    except TimeoutError:
        remaining = left()
        for pid in set().union(*remaining.values()):
            os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"{after}, processes remain: {remaining}") from None
    passed(f"{after}, no process remains")


def orphans(gateway: Gateway) -> None:
    """What the gateway starts ends with it, however it ends."""
    marks = {name: uuid.uuid4().hex for name, _, _ in BROODS}
    for name, command, _ in BROODS:
        gateway.register(name, command=command, env={MARK: marks[name]})
    hatched = hatch(gateway, marks)
    passed(f"processes of the servers on stdio: { {n: len(p) for n, p in hatched.items()} }")

    for pid in hatched["plain"]:
        os.kill(pid, signal.SIGKILL)
    again = hatch(gateway, marks)
    assert again["plain"].isdisjoint(hatched["plain"])
    passed("a killed server on stdio is started again")

    gateway.kill()
    all_gone(marks, "after kill -9 of the gateway")

    gateway.start()
    hatch(gateway, marks)
    process = gateway.process
    assert process
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0, f"SIGTERM: ended with {process.returncode}"
    gateway.process = None
    all_gone(marks, "after SIGTERM")


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="tollhouse-") as home,
        Gateway(Path(home)) as gateway,
    ):
        sickness(Path(home), gateway)
        orphans(gateway)
    print("faults: passed")


if __name__ == "__main__":
    main()
