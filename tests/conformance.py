"""The official conformance suite, through the gateway.

Server scenarios judge `/servers/{name}/mcp` in front of the suite's fixture, in both revisions the
suite knows. The fixture is also judged directly: that is the truth, and a check that succeeds there
must succeed through the gateway. An empty server passes many scenarios, so lists and answers are
compared first. In client scenarios the suite plays a server, the gateway asks it, and clients of
both eras ask the gateway.

`python3 tests/conformance.py` runs everything, `… NAME…` only the scenarios named. What the suite
saw is kept in `target/conformance/`, the result in `target/conformance.md`.
"""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import Gateway
from matrix import LISTS, direct_truth, own_endpoints
from process import ROOT, SUITE, TOOLS, free_port, kill, running, spawn, until
from servers.fleet import DUAL, FIXTURE, Server, fixture

CLIENT = [str(TOOLS / "python-2/bin/python"), str(ROOT / "tests/clients/conformance_client.py")]
EVIDENCE = ROOT / "target/conformance"
REPORT = ROOT / "target/conformance.md"

LEGACY, MODERN = "2025-11-25", "2026-07-28"
# How many server scenarios each revision requires. The sets are frozen.
REQUIRED = {LEGACY: 30, MODERN: 37}
SCENARIO_SECONDS = 15
# The folder of a result: a scenario and a moment.
STAMPED = re.compile(r"(?:server-)?(.+?)-\d{4}-\d\d-\d\dT[\d-]+Z")

# The checks of 2026-07-28 that fail over a fixture that knows only sessions, and why. Nobody can
# ask it directly in this revision, so the reasons stand here; one that no longer holds fails.
NO_SUCH_TOOL = "the fixture has no tool or prompt that returns `input_required`"
BEYOND_SESSIONS = {
    "server-stateless": (
        "the fixture has none of the tools that refuse for a capability or change its lists",
        "sep-2575-server-rejects-undeclared-capability",
        "sep-2575-missing-capability-http-400",
        "sep-2575-server-sends-prompts-list-changed-on-subscription",
        "sep-2575-server-sends-tools-list-changed-on-subscription",
    ),
    "sep-2164-resource-not-found": (
        "the fixture tells a missing resource by the code 0 and no data",
        "sep-2164-error-code",
        "sep-2164-data-uri",
    ),
    "input-required-result-basic-elicitation": (
        NO_SUCH_TOOL,
        "sep-2322-elicitation-incomplete",
        "sep-2322-elicitation-complete",
    ),
    "input-required-result-basic-sampling": (
        NO_SUCH_TOOL,
        "sep-2322-sampling-incomplete",
        "sep-2322-sampling-complete",
    ),
    "input-required-result-basic-list-roots": (
        NO_SUCH_TOOL,
        "sep-2322-list-roots-incomplete",
        "sep-2322-list-roots-complete",
    ),
    "input-required-result-request-state": (
        NO_SUCH_TOOL,
        "sep-2322-request-state-incomplete",
        "sep-2322-request-state-complete",
    ),
    "input-required-result-multiple-input-requests": (
        NO_SUCH_TOOL,
        "sep-2322-multiple-inputs-incomplete",
        "sep-2322-multiple-inputs-complete",
    ),
    "input-required-result-multi-round": (
        NO_SUCH_TOOL,
        "sep-2322-multi-round-r1",
        "sep-2322-multi-round-r2",
        "sep-2322-multi-round-r3",
    ),
    "input-required-result-missing-input-response": (
        NO_SUCH_TOOL,
        "sep-2322-missing-response-rerequests",
    ),
    "input-required-result-non-tool-request": (
        NO_SUCH_TOOL,
        "sep-2322-non-tool-incomplete",
        "sep-2322-non-tool-complete",
    ),
    "input-required-result-result-type": (NO_SUCH_TOOL, "sep-2322-result-type-included"),
    "input-required-result-tampered-state": (NO_SUCH_TOOL, "sep-2322-reject-tampered-state"),
    "input-required-result-capability-check": (
        NO_SUCH_TOOL,
        "sep-2322-respect-client-capabilities",
    ),
    "input-required-result-validate-input": (
        NO_SUCH_TOOL,
        "sep-2322-validate-input-responses",
        "sep-2322-error-on-protocol-error",
    ),
}

# The client scenarios that are not about OAuth, by the revision that the suite's server speaks.
CLIENT_SCENARIOS = {
    LEGACY: (
        "initialize",
        "tools_call",
        "elicitation-sep1034-client-defaults",
        "sse-retry",
        "json-schema-2020-12-preservation",
    ),
    MODERN: (
        "tools_call",
        "request-metadata",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "sep-2322-client-request-state",
        "json-schema-2020-12-preservation",
        "json-schema-ref-no-deref",
    ),
}
# What the client in front of the gateway speaks, in the words of its SDK.
FRONTS = {"2025-11-25": "legacy", "2026-07-28": MODERN}


# Checks of clients that a gateway cannot make come true. This one wants a capability with requests
# for lists, which the gateway makes in its own name: nobody can ask it anything.
NOT_THE_GATEWAYS = ("sep-2575-client-declares-elicitation-capability",)


@dataclass
class Verdict:
    """What the suite says of one scenario."""

    successes: Counter[str] = field(default_factory=Counter)
    # What was looked at, and is left to the server: such as an answer in JSON, where SSE may be.
    optional: set[str] = field(default_factory=set)
    # By check, so that the same failure is recognised elsewhere.
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Verdict":
        """Reads what a run left behind. A scenario that breaks off leaves nothing."""
        written = folder / "checks.json"
        if not written.exists():
            return cls(problems={"scenario": "broke off"})
        verdict = cls()
        for check in json.loads(written.read_text()):
            label = f"{check['id']} {check['name']}"
            if check["status"] == "SUCCESS":
                verdict.successes[label] += 1
            elif check["status"] == "INFO":
                verdict.optional.add(check["id"])
            elif check["status"] in ("FAILURE", "WARNING"):
                verdict.problems[label] = reason(check)
        return verdict

    def against(self, truth: "Verdict", as_often: bool = True) -> dict[str, str]:
        """All problems, and a problem for every success that only the truth has. How often a check
        succeeds depends on how many requests a client makes, and the gateway makes its own."""
        lost = {
            label: f"{count} fewer than directly"
            for label, count in (truth.successes - self.successes).items()
            if label.split()[0] not in {*self.optional, *(() if as_often else NOT_THE_GATEWAYS)}
            and (as_often or label not in self.successes)
        }
        if not self.successes and truth.successes:
            lost["scenario"] = "nothing succeeded"
        return {**lost, **self.problems}


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    suite: str
    scenario: str
    problems: Mapping[str, str]
    note: str

    def line(self) -> str:
        """As a line of a Markdown table."""
        told = "; ".join(list(self.problems)[:3]) or self.note
        return f"| {self.suite} | {self.scenario} | {'✗' if self.problems else '✓'} | {told} |"


def reason(check: Mapping[str, Any]) -> str:
    told = check.get("errorMessage") or check.get("description", "")
    details = json.dumps(check["details"], ensure_ascii=False) if check.get("details") else ""
    return f"{told} {details}".strip()[:1000]


def stamped(folder: Path) -> str:
    """The scenario that a folder of results is of."""
    found = STAMPED.fullmatch(folder.name)
    assert found, f"{folder} is of no scenario"
    return found[1]


def suite(*words: str | Path, env: Mapping[str, str] | None = None, seconds: float = 120) -> str:
    """Runs the suite; what it prints. It ends with 1 when a scenario fails."""
    done = subprocess.run(
        [*SUITE, *words],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{shlex.join(map(str, words))}: {done.returncode}\n{done.stdout}")
    return done.stdout


def required(revision: str) -> list[str]:
    """The server scenarios that the revision requires, in the words of the suite."""
    told = suite("list", "--requirements", revision)
    section = told.split("Server scenarios", 1)[1].split("\n\n", 1)[0]
    names = re.findall(r"^  - (\S+)$", section, re.MULTILINE)
    assert len(names) == REQUIRED[revision], f"{revision} requires {len(names)} scenarios"
    return names


def judge_server(url: str, revision: str, only: Sequence[str], label: str) -> dict[str, Verdict]:
    """By scenario, what the suite says of a server; all of them, or only those named."""
    folder = EVIDENCE / label
    folder.mkdir(parents=True)
    words = ("server", "--url", url, "-o", folder, "--timeout", f"{SCENARIO_SECONDS}000")
    if only:
        runs = [("--scenario", name, "--spec-version", revision) for name in only]
    else:
        runs = [("--requirements", revision)]
    printed = "".join(suite(*words, *run) for run in runs)
    (EVIDENCE / f"{label}.txt").write_text(printed)
    verdicts = {stamped(path): Verdict.of(path) for path in sorted(folder.iterdir())}
    # Why a scenario broke off is printed, and written nowhere.
    for name, why in re.findall(r"Failed to run scenario (\S+): (.*)", printed):
        verdicts[name].problems["scenario"] = why[:600]
    return verdicts


def judge_fixture(
    gateway: Gateway, server: Server, revision: str, truths: Mapping[str, Verdict], some: list[str]
) -> dict[str, Row]:
    """By scenario, what is said through the gateway against what is true. A check that fails
    directly as well is the fixture's own affair."""
    url = f"{gateway.url}/servers/{server.name}/mcp"
    found = judge_server(url, revision, some, f"{server.name}-{revision}-through")
    rows = {}
    for name, truth in truths.items():
        verdict = found.get(name, Verdict(problems={"scenario": "did not run"}))
        problems = verdict.against(truth)
        for label in truth.problems:
            problems.pop(label, None)
        note = f"{verdict.successes.total()} checks"
        if truth.problems:
            note += f"; fails directly: {', '.join(truth.problems)}"
        rows[name] = Row(f"server {revision} × {server.name}", name, problems, note)
    return rows


def judge_servers(
    gateway: Gateway, dual: Server, legacy: Server, only: Sequence[str]
) -> Iterator[Row]:
    """The required scenarios, over a fixture of both eras and over one that knows only sessions."""
    for revision in (LEGACY, MODERN):
        names = [name for name in required(revision) if not only or name in only]
        if not names:
            continue
        some = names if only else []
        truths = judge_server(dual.url, revision, some, f"{dual.name}-{revision}-direct")
        failed = {name: truths[name].problems for name in names if truths[name].problems}
        assert not failed, f"the fixture itself fails: {failed}"
        rows = judge_fixture(gateway, dual, revision, truths, some)
        yield from (rows[name] for name in names)
        for row in rows.values():
            if row.scenario not in names:
                print(f"  not required: {row.line()}")
        if revision == LEGACY:
            truths = judge_server(legacy.url, revision, some, f"{legacy.name}-{revision}-direct")
        rows = judge_fixture(gateway, legacy, revision, truths, some)
        beyond = BEYOND_SESSIONS if revision == MODERN else {}
        yield from (expecting(rows[name], *beyond.get(name, ("",))) for name in names)


def expecting(row: Row, why: str, *checks: str) -> Row:
    """The row with exactly these checks failing as the right outcome."""
    if not checks:
        return row
    problems = {label: told for label, told in row.problems.items() if label.split()[0] in checks}
    failing = {label.split()[0] for label in problems}
    unexpected = {label: told for label, told in row.problems.items() if label not in problems}
    stale = {check: f"does not fail, although {why}" for check in checks if check not in failing}
    note = f"{row.note}; {len(checks)} fail: {why}"
    return Row(row.suite, row.scenario, {**unexpected, **stale}, note)


def judge_client(
    scenario: str, revision: str, era: str, env: Mapping[str, str], label: str
) -> Verdict:
    """What the suite says of the gateway, or of the SDK's client, as a client."""
    folder = EVIDENCE / label
    folder.mkdir()
    log = folder / "printed.txt"
    words = ("--scenario", scenario, "--spec-version", revision, "--command", shlex.join(CLIENT))
    limit = ("--timeout", f"{SCENARIO_SECONDS}000")
    process = spawn([*SUITE, "client", *words, *limit, "-o", folder], log, {"ERA": era, **env})
    try:
        # When all is written the suite only waits until nobody is connected to its server.
        until(
            lambda: "Results saved" in log.read_text() or process.poll() is not None,
            f"{scenario} is over",
            2 * SCENARIO_SECONDS,
        )
    finally:
        kill(process)
    [results] = [path for path in folder.iterdir() if path.is_dir()]
    verdict = Verdict.of(results)
    printed = log.read_text()
    if failed := re.search(r"Client (?:exited with code|timed out)", printed):
        # The deepest of the SDK's nested errors stands last.
        told = re.findall(r"^[ |]*([\w.]+(?:Error|Timeout)(?:: .*)?)$", printed, re.MULTILINE)
        verdict.problems["client"] = told[-1] if told else failed[0]
    return verdict


def judge_clients(gateway: Gateway, only: Sequence[str]) -> Iterator[Row]:
    """Each scenario with the SDK's client, which is the truth, then with the gateway."""
    serial = itertools.count(1)
    for revision, scenarios in CLIENT_SCENARIOS.items():
        for scenario in scenarios:
            if only and scenario not in only:
                continue
            own = FRONTS[revision]
            label = f"client-{scenario}-{revision}"
            truth = judge_client(scenario, revision, own, {}, f"{label}-direct")
            assert truth.successes, f"{scenario} succeeds in nothing directly: {truth.problems}"
            for front, era in FRONTS.items():
                env = {
                    "GATEWAY_URL": gateway.url,
                    "GATEWAY_KEY": gateway.key,
                    "SERVER_NAME": f"suite-{next(serial)}",
                }
                verdict = judge_client(scenario, revision, era, env, f"{label}-from-{front}")
                note = f"{verdict.successes.total()} checks"
                problems = verdict.against(truth, as_often=False)
                yield Row(f"client {revision} ← {front}", scenario, problems, note)


def compare_answers(gateway: Gateway, servers: list[Server]) -> Iterator[Row]:
    """Every definition and many answers of the fixtures, against those given directly."""
    truths = {server.name: direct_truth(server) for server in servers}
    for name, cell in own_endpoints(gateway, servers, truths).items():
        counts = ", ".join(f"{len(truths[name].items(m))} {member}" for m, member in LISTS.items())
        problems = {f"difference {at}": why for at, why in enumerate(cell.problems, 1)}
        note = f"{cell.checks} comparisons: {counts}, {len(truths[name].answers)} answers"
        yield Row("lists and answers", name, problems, note)


@contextmanager
def house(folder: Path) -> Iterator[tuple[Gateway, Server, Server]]:
    """The gateway with both fixtures behind it. The suite shows no credentials: access is off."""
    os.environ["TOLLHOUSE_ACCESS__ENABLED"] = "false"
    with ExitStack() as stack:
        servers = []
        for generation, name, steps in ((2, "fixture-dual", DUAL), (1, "fixture-legacy", FIXTURE)):
            port = free_port()
            command, env = fixture(generation, port)
            stack.enter_context(running(command, port, EVIDENCE / f"{name}.log", env))
            servers.append(Server(name, steps, url=f"http://127.0.0.1:{port}/mcp"))
        gateway = Gateway(folder)
        gateway.log = EVIDENCE / "gateway.log"
        stack.enter_context(gateway)
        for server in servers:
            gateway.register(server.name, server.url)
        yield gateway, *servers


def judge(only: Sequence[str]) -> Iterator[Row]:
    """Everything, or the scenarios named."""
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as home:
        with house(Path(home)) as (gateway, dual, legacy):
            yield from compare_answers(gateway, [dual, legacy])
            yield from judge_servers(gateway, dual, legacy, only)
            yield from judge_clients(gateway, only)


def report(rows: list[Row]) -> bool:
    """Prints and writes the table; whether everything passed."""
    bad = [row for row in rows if row.problems]
    lines = ["| suite | scenario | | |", "|---|---|---|---|", *(row.line() for row in rows)]
    counts = f"{len(rows) - len(bad)} passed, {len(bad)} failed"
    text = "\n".join([*lines, "", counts, ""])
    REPORT.write_text(text)
    print(text, end="")
    return not bad


def main() -> None:
    only = sys.argv[1:]
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    EVIDENCE.mkdir(parents=True)
    rows = []
    for row in judge(only):
        rows.append(row)
        if row.problems:
            print(f"✗ {row.suite}: {row.scenario}", flush=True)
            for label, why in row.problems.items():
                print(f"    {label}: {why}")
    assert len(rows) > 2, f"there is no scenario {' or '.join(only)}"
    sys.exit(not report(rows))


if __name__ == "__main__":
    main()
