"""The cases of Autobahn, by kosoku, against the sockets of the WebSocket door.

The door itself speaks MCP, and the cases want to hear what they said: an ignored unit test serves
echoes on the very same sockets (`src/edge/websocket/tests.rs`). Left out are 9, which measures
speed, and 12 and 13, which want compression, for the door offers none.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from process import ROOT, TOOLS, kill, spawn, until

ECHOES = "edge::websocket::tests::autobahn"
KOSOKU = TOOLS / "checks/bin/kosoku"
EVIDENCE = ROOT / "target/autobahn"
REPORT = ROOT / "target/websocket.md"
LEFT_OUT = ("9.*", "12.*", "13.*")
AT_ONCE = 4
SUITE_S = 170
# So many are there; fewer were not run.
LEAST = 240
# The others are FAILED, UNCLEAN, WRONG CODE, FAILED BY CLIENT, UNIMPLEMENTED and ERROR.
FINE = {"OK", "NON-STRICT", "INFORMATIONAL"}


def unit_tests() -> Path:
    """Builds the unit tests; where they are."""
    words = ["cargo", "test", "--locked", "--lib", "--no-run", "--message-format", "json"]
    built = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    said = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    (found,) = [one["executable"] for one in said if one.get("executable")]
    return Path(found)


@contextmanager
def echoes(log: Path) -> Iterator[str]:
    """A server of echoes, and its address."""
    words = [unit_tests(), "--ignored", "--exact", ECHOES, "--nocapture"]
    process = spawn(words, log)

    def told() -> re.Match[str] | None:
        assert process.poll() is None, f"{ECHOES} ended at once:\n{log.read_text()}"
        return re.search(r"echoes at (ws://\S+)\n", log.read_text())

    try:
        yield until(told, "the echoes have an address")[1]
    finally:
        kill(process)


def judged(address: str) -> dict[str, tuple[str, str]]:
    """By case: how the messages went, and how the closing did."""
    without = [word for cases in LEFT_OUT for word in ("--exclude", cases)]
    words = [KOSOKU, *without, "--parallelism", str(AT_ONCE), "--outdir", EVIDENCE, address]
    # It ends with 1 where a case failed; the report says which.
    subprocess.run(words, stdout=subprocess.DEVNULL, timeout=SUITE_S, check=False)
    (cases,) = json.loads((EVIDENCE / "index.json").read_text()).values()
    return {name: (case["behavior"], case["behaviorClose"]) for name, case in cases.items()}


def report(cases: dict[str, tuple[str, str]]) -> bool:
    """Prints and writes what came out; whether every case passed."""
    lines = ["| case | messages | closing |", "|---|---|---|"]
    for name, (messages, closing) in cases.items():
        if (messages, closing) != ("OK", "OK"):
            lines.append(f"| {name} | {messages} | {closing} |")
    bad = [name for name, verdicts in cases.items() if not FINE.issuperset(verdicts)]
    counted = Counter(messages for messages, _ in cases.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in counted.most_common())
    counts = f"{len(cases) - len(bad)} passed, {len(bad)} failed"
    text = "\n".join([*lines, "", f"messages: {kinds}", "", counts, ""])
    REPORT.write_text(text)
    print(text, end="")
    return not bad


def main() -> None:
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    EVIDENCE.mkdir(parents=True)
    with echoes(EVIDENCE / "echoes.log") as address:
        cases = judged(address)
    assert len(cases) >= LEAST, f"only {len(cases)} cases were run"
    sys.exit(not report(cases))


if __name__ == "__main__":
    main()
