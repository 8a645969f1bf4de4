"""The servers that `gone.py` asks, and what a gateway holds for them and for its clients."""

import itertools
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compat.offer import Board
from faults import MARK
from gateway import REVISION, Gateway
from process import ROOT, TOOLS, ask, free_port, running, until

SCRIPTS = ROOT / "tests/compat"
LEGACY = "2025-11-25"
# Longer than a pool keeps an idle connection (`gone.QUICK`) and takes to notice.
QUIET_S = 2.5


def children(ancestor: int) -> frozenset[int]:
    """All living processes below this one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                # A zombie has given everything back.
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    found = {ancestor}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found - {ancestor})


def descriptors(process: int) -> Counter[str]:
    """What a process has open, by what it is."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            kinds[os.readlink(entry).partition(":[")[0]] += 1
    return kinds


@dataclass
class Holdings:
    """What the gateway holds at one moment."""

    open: Counter[str]
    children: frozenset[int]
    sessions: frozenset[str]
    conversations: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, gateway: Gateway) -> "Holdings":
        assert gateway.process
        sessions, rows = listed(gateway, "sessions"), listed(gateway, "processes")
        here = ("server", "kind", "owner", "principal", "in_flight", "pid")
        return cls(
            open=descriptors(gateway.process.pid),
            children=children(gateway.process.pid),
            sessions=frozenset(one["id"] for one in sessions if not one["ended_at"]),
            conversations=Counter(" ".join(f"{k}={row[k]}" for k in here) for row in rows),
        )

    def left(self, before: "Holdings") -> list[str]:
        """What is here and was not before, and what was before and is not here."""
        found = []
        for name, now, then in (
            ("children", Counter(self.children), Counter(before.children)),
            ("sessions", Counter(self.sessions), Counter(before.sessions)),
            ("conversations", self.conversations, before.conversations),
        ):
            found += [f"{name}: more {[*more]}"] if (more := now - then) else []
            found += [f"{name}: fewer {[*fewer]}"] if (fewer := then - now) else []
        if more := self.open - before.open:
            total = f"{self.open.total()} instead of {before.open.total()}"
            found.append(f"descriptors: {total}, more are {dict(more)}")
        return found

    def __str__(self) -> str:
        return (
            f"{self.open.total()} descriptors, {len(self.children)} children, "
            f"{len(self.sessions)} sessions, {self.conversations.total()} conversations"
        )


def listed(gateway: Gateway, what: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {gateway.key}"}
    status, text = ask(f"{gateway.url}/api/admin/{what}", headers=headers)
    assert status == 200, f"{what}: HTTP {status}: {text}"
    return json.loads(text)["data"]


def quiet(gateway: Gateway) -> Holdings:
    """What the gateway holds once it lets go of nothing any more."""
    held, since = Holdings.of(gateway), time.monotonic()

    def rests() -> bool:
        nonlocal held, since
        now = Holdings.of(gateway)
        # The connections of whoever looks come and go: the least that was seen is what is held.
        now.open &= held.open
        if now != held:
            held, since = now, time.monotonic()
        return time.monotonic() - since > QUIET_S

    until(rests, "the gateway is quiet")
    return held


@dataclass
class Server:
    """A server of one era on one transport, and where it writes what became of calls."""

    title: str
    is_modern: bool
    transport: str
    folder: Path
    # Every process of it that the gateway starts carries this.
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def name(self) -> str:
        return f"{'modern' if self.is_modern else 'legacy'}-{self.transport}"

    @property
    def board(self) -> Board:
        return Board(self.folder)

    @property
    def command(self) -> list[str]:
        if self.is_modern:
            python, script, rest = "python-2", "server_2.py", [self.transport, "modern"]
        else:
            python, script, rest = "python-1", "server_1.py", [self.transport]
        interpreter = str(TOOLS / python / "bin/python")
        return [interpreter, str(SCRIPTS / script), *rest, str(self.folder)]

    @contextmanager
    def registered(self, gateway: Gateway) -> Iterator[None]:
        self.folder.mkdir()
        with ExitStack() as stack:
            if self.transport == "http":
                port, log = free_port(), self.folder.with_suffix(".log")
                stack.enter_context(running([*self.command, str(port)], port, log))
                gateway.register(self.name, url=f"http://127.0.0.1:{port}/mcp")
            else:
                gateway.register(self.name, command=self.command, env={MARK: self.mark})
            yield


def servers(folder: Path) -> list[Server]:
    eras, transports = ((LEGACY, False), (REVISION, True)), ("http", "stdio")
    return [
        Server(f"{era} {transport}", is_modern, transport, folder / f"{era}-{transport}")
        for (era, is_modern), transport in itertools.product(eras, transports)
    ]
