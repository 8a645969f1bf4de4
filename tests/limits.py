"""Two gateways that count together in a real Redis: they share one limit; and when Redis is killed,
started again or hangs, calls go on, and no limit is doubled for longer than one window."""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gateway import Gateway, request
from process import ROOT, accepts, free_port, kill, running, spawn, until

SCRIPTED = str(ROOT / "tests/servers/scripted.py")
ALGORITHMS = ("sliding_window", "token_bucket", "fixed_window")
LIMIT = 20
WINDOW_S = 2
PER_SECOND = 40
STEADY_S = 8
# What a call may take while Redis hangs: the deadline for it, and the noise of a busy machine.
HUNG_S = 2.0


def passed(what: str) -> None:
    print(f"  ✓ {what}", flush=True)


class Redis:
    """A Redis that keeps nothing on the disk, so that a restart is a new beginning."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.start()

    def start(self) -> None:
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = spawn([*words, "--dir", str(self.folder)], self.folder / "redis.log")
        until(lambda: accepts(self.port), "Redis accepts")

    def kill(self) -> None:
        kill(self.process)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


def call(gateway: Gateway) -> str:
    """One call: `passed`, `limited`, or what else was said."""
    try:
        arguments = {"name": "wiki__say", "arguments": {"text": "x"}}
        request(f"{gateway.url}/mcp", gateway.key, "tools/call", arguments, timeout=30)
    except Exception as error:  # noqa: BLE001 — whatever it is, it is counted
        said = str(error)
        return "limited" if "RATE_LIMIT_EXCEEDED" in said else said
    return "passed"


def sharing(gateway: Gateway) -> dict[str, Any]:
    return gateway.status()["rate_limits"]


def share_one_limit(gateways: list[Gateway]) -> None:
    for algorithm in ALGORITHMS:
        for gateway in gateways:
            terms = ("--limit", "50/1d", "--algorithm", algorithm, "--match", "method=tools/call")
            gateway.command("limit", "add", algorithm, *terms)
        with ThreadPoolExecutor(40) as pool:
            said = Counter(pool.map(call, [*gateways] * 100))
        assert said == {"passed": 50, "limited": 150}, said
        passed(f"{algorithm}: of 200 calls at once at two gateways 50 passed")
        for gateway in gateways:
            gateway.command("limit", "remove", algorithm)


class Load:
    """Calls on a timetable, at both gateways in turn, until it is told to end."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self.gateways, self.is_over = gateways, threading.Event()
        self.calls: list[tuple[float, float, str]] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        began, number = time.time(), 0
        with ThreadPoolExecutor(64) as pool:
            while not self.is_over.wait(max(began + number / PER_SECOND - time.time(), 0)):
                pool.submit(self.make, self.gateways[number % 2])
                number += 1

    def make(self, gateway: Gateway) -> None:
        began = time.time()
        said = call(gateway)
        self.calls.append((began, time.time() - began, said))

    def end(self) -> None:
        self.is_over.set()
        self.thread.join()

    def windows(self, since: float, until_: float) -> list[int]:
        """How many passed in each whole window between two moments."""
        first, last = int(since // WINDOW_S) + 1, int(until_ // WINDOW_S)
        counts = Counter(int(began // WINDOW_S) for began, _, said in self.calls if said == "passed")
        return [counts[number] for number in range(first, last)]


def survive(gateways: list[Gateway], redis: Redis) -> None:
    for gateway in gateways:
        window = ("--limit", f"{LIMIT}/{WINDOW_S}s", "--algorithm", "fixed_window")
        gateway.command("limit", "add", "steady", *window, "--match", "method=tools/call")
    load = Load(gateways)
    phases: list[tuple[str, float, float]] = []

    def phase(what: str, change: Callable[[], None], is_shared: bool) -> None:
        change()
        until(lambda: all(sharing(it)["shared"] == is_shared for it in gateways), what)
        began = time.time()
        time.sleep(STEADY_S)
        phases.append((what, began, time.time()))

    try:
        phase("together", lambda: None, True)
        phase("Redis killed", redis.kill, False)
        phase("Redis back", redis.start, True)
        with redis.hanging():
            phase("Redis hangs", lambda: None, False)
        phase("Redis goes on", lambda: None, True)
    finally:
        load.end()
    odd = [said for _, _, said in load.calls if said not in {"passed", "limited"}]
    assert not odd, f"{len(odd)} of {len(load.calls)} calls failed: {odd[:3]}"
    passed(f"all {len(load.calls)} calls passed or were told to wait")
    for what, began, ended in phases:
        # The first whole window may have begun before the change was seen.
        counts = load.windows(began + WINDOW_S, ended)
        assert all(0.8 * LIMIT <= count <= LIMIT for count in counts), (what, counts)
        passed(f"{what}: {counts} of {LIMIT} in each window")
    every = load.windows(phases[0][1], phases[-1][2])
    assert max(every) <= 2 * LIMIT, every
    # A call at the edge of a window is counted here by when it was made, and there by when it came.
    above = [index for index, count in enumerate(every) if count > LIMIT + len(gateways)]
    assert all(b - a > 1 for a, b in zip(above, above[1:], strict=False)), every
    passed(f"no window let more than twice the limit pass, and no two in a row more than it: {every}")
    slowest = max(took for _, took, _ in load.calls)
    assert slowest <= HUNG_S, f"{slowest:.2f} s"
    passed(f"the slowest call took {slowest * 1000:.0f} ms, while Redis hung too")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = Redis(folder)
        stack.callback(lambda: redis.process.poll() is not None or redis.kill())
        port = free_port()
        words = [sys.executable, SCRIPTED, "http", "wiki", str(port)]
        stack.enter_context(running(words, port, folder / "server.log"))
        os.environ["TOLLHOUSE_TRAFFIC__LIMITS__REDIS__URL"] = f"redis://127.0.0.1:{redis.port}"
        os.environ["TOLLHOUSE_EDGE__CONNECTIONS__MAX_CONNECTIONS_PER_ADDRESS"] = "2000"
        gateways = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            gateway = stack.enter_context(Gateway(folder / name))
            gateway.register("wiki", f"http://127.0.0.1:{port}/mcp")
            gateways.append(gateway)
        together = {"shared": True, "gateways": 2}
        until(lambda: all(sharing(it) == together for it in gateways), "both count together")
        passed(f"both know of one another: {json.dumps(together)}")
        share_one_limit(gateways)
        survive(gateways, redis)


if __name__ == "__main__":
    main()
