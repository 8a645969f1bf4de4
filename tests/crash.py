"""`kill -9` under a load of acknowledged writes, again and again: what was acknowledged is there.

Then the database is damaged in every crude way: the gateway refuses it and stays closed.
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gateway import BINARY, Gateway
from process import ask, free_port, until

WRITERS = 4
READY_LIMIT_S = 1.5
REFUSAL_LINES = 5
DATABASE = "state.redb"


class Load:
    """Writers that register servers until the gateway is gone."""

    def __init__(self, gateway: Gateway, cycle: int) -> None:
        self.gateway = gateway
        self.attempted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.refused: list[str] = []
        self.threads = [
            threading.Thread(target=self.write, args=(f"c{cycle}-w{writer}",))
            for writer in range(WRITERS)
        ]
        for thread in self.threads:
            thread.start()

    def write(self, prefix: str) -> None:
        number = 0
        while True:
            name = f"{prefix}-{number}"
            number += 1
            self.attempted.add(name)
            try:
                status, text = self.register(name)
            except (OSError, HTTPException):
                # The gateway is gone; half an answer is no acknowledgement.
                return
            if status != 201:
                self.refused.append(f"{name}: {status} {text[:300]}")
                return
            self.acknowledged.add(name)

    def register(self, name: str) -> tuple[int, str]:
        body = {"name": name, "url": "http://127.0.0.1:9/mcp"}
        headers = {"Authorization": f"Bearer {self.gateway.key}"}
        return ask(f"{self.gateway.url}/gateway/servers", body, headers, timeout=30)

    def is_over(self, target: int) -> bool:
        return len(self.acknowledged) >= target or not any(t.is_alive() for t in self.threads)

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)
        assert not self.refused, f"refused while running: {self.refused[:3]}"


def listed(gateway: Gateway) -> set[str]:
    headers = {"Authorization": f"Bearer {gateway.key}"}
    status, text = ask(f"{gateway.url}/gateway/servers?limit=100000", headers=headers)
    assert status == 200, f"{status} {text[:300]}"
    answer = json.loads(text)
    assert answer["success"] is True
    return {server["name"] for server in answer["data"]}


def agreement(gateway: Gateway) -> dict[str, Any]:
    """What `db check` says of the store while nobody has it open."""
    found: dict[str, Any] = json.loads(gateway.command("db", "check", "-o", "json"))
    assert found["agree"] is True, found
    return found


def crashes(gateway: Gateway, cycles: int, chance: random.Random) -> None:
    acknowledged: set[str] = set()
    attempted: set[str] = set()
    slowest = 0.0
    gateway.start()
    own = listed(gateway)
    for cycle in range(cycles):
        target = chance.randint(3, 40)
        load = Load(gateway, cycle)
        until(lambda x=load, n=target: x.is_over(n), f"{target} acknowledged writes", 60)
        gateway.kill()
        load.end()
        assert len(load.acknowledged) >= target, f"only {len(load.acknowledged)} of {target}"
        acknowledged |= load.acknowledged
        attempted |= load.attempted

        book = agreement(gateway)
        assert book["audit"] >= len(acknowledged), f"{book}, acknowledged {len(acknowledged)}"
        took = gateway.start()
        slowest = max(slowest, took)
        assert took <= READY_LIMIT_S, f"ready only after {took:.2f} s"
        there = listed(gateway)
        lost = acknowledged - there
        assert not lost, f"cycle {cycle}: lost {sorted(lost)[:5]}, {len(lost)} in all"
        invented = there - attempted - own
        assert not invented, f"cycle {cycle}: nobody wrote {sorted(invented)[:5]}"
    gateway.kill()
    assert len(acknowledged) >= 3 * cycles
    print(f"  ✓ {cycles} times killed, {len(acknowledged)} acknowledged writes, none lost")
    print(f"  ✓ audit and feed agree: {agreement(gateway)}")
    print(f"  ✓ ready again within {slowest:.2f} s at most")


def damages(chance: random.Random, whole: bytes) -> dict[str, bytes | None]:
    return {
        "emptied": b"",
        "cut in half": whole[: len(whole) // 2],
        "foreign": chance.randbytes(max(len(whole), 1 << 16)),
        "removed": None,
    }


def refusals(gateway: Gateway, folder: Path, chance: random.Random) -> None:
    whole = (gateway.data / DATABASE).read_bytes()
    for what, damage in damages(chance, whole).items():
        data = folder / f"data-{what.replace(' ', '-')}"
        shutil.copytree(gateway.data, data, ignore=shutil.ignore_patterns("*.sock"))
        database = data / DATABASE
        if damage is None:
            database.unlink()
        else:
            database.write_bytes(damage)
        listen = f"127.0.0.1:{free_port()}"
        said = refused("start", data, "--listen", listen)
        refused("setup", data, "--username", "admin", "--password-stdin", "-o", "json")
        refused("start", data, "--listen", listen)
        print(f"  ✓ {what}: {said}")


def refused(verb: str, data: Path, *rest: str) -> str:
    """The first line of the refusal. Raises when it is not refused, or not said clearly."""
    words = [str(BINARY), verb, "--data", str(data), *rest]
    done = subprocess.run(
        words, input="another passphrase", capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode > 0, f"{verb} on a damaged database ended with {done.returncode}"
    assert "api_key" not in done.stdout, f"{verb} opened the set-up again"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert 1 <= len(lines) <= REFUSAL_LINES, f"{verb}: {len(lines)} lines: {done.stderr[:1500]}"
    assert "panicked" not in done.stderr, done.stderr
    assert DATABASE in done.stderr, f"{verb} does not name {DATABASE}: {done.stderr}"
    return lines[0].strip()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cycles", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as home:
        gateway = Gateway(Path(home))
        try:
            crashes(gateway, options.cycles, chance)
            refusals(gateway, Path(home), chance)
        finally:
            gateway.kill()
    print("crash: passed")


if __name__ == "__main__":
    main()
