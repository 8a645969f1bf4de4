"""Every real client against every real server, through one gateway.

Each server is first asked directly, by the Python SDK 2.x; that is the truth. Some servers show
more to a client that has roots, so the lists are asked for twice. Then each client lists the union
at `/mcp`, every definition is compared, and the same calls are made under the qualified names. A
cell of the table is green when every answer for that server equals the truth.
With `--direct` no gateway is involved: each client asks the two fixtures on HTTP itself, which
proves the scripts and not the product.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway import MISSING, Gateway
from process import ROOT, TOOLS, until
from servers.fleet import Server, Step, call, fleet

CLIENTS = ROOT / "tests/clients"
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
OWN = "tollhouse"
NAME_LIMIT = 64
# `convert_time` speaks of today, and the day may change between two questions.
TODAY = re.compile(r"\b20\d\d-\d\d-\d\d(?=T\d)|\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b")
UNION = "union"
# A client that gives up spoils its own row, not the others.
BROKEN = (RuntimeError, AssertionError, subprocess.TimeoutExpired)


@dataclass(frozen=True)
class Client:
    """A real client in one of its modes."""

    name: str
    mode: str
    command: tuple[Path | str, ...]
    completes: bool = True
    has_roots: bool = False

    @property
    def title(self) -> str:
        return f"{self.name} {self.mode}".strip()

    def ask(self, target: str, key: str, steps: list[Step]) -> list[dict[str, Any]]:
        """Asks all steps; one {"result"} or {"error"} for each."""
        done = subprocess.run(
            [*self.command, target, key, self.mode],
            input=json.dumps(steps),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.title}: {done.returncode}: {done.stderr[-1500:]}")
        answers = json.loads(done.stdout)
        assert len(answers) == len(steps), f"{self.title}: {len(answers)} of {len(steps)} answers"
        return answers

    def lists(self, target: str, key: str) -> dict[str, Any]:
        """The four lists, by method; a list that the server does not have is empty."""
        answers = self.ask(target, key, [(method, {}) for method in LISTS])
        return {
            method: answer.get("result", {member: [], "error": answer.get("error")})
            for (method, member), answer in zip(LISTS.items(), answers, strict=True)
        }


INSPECTOR = (sys.executable, CLIENTS / "inspector.py")
PYTHON_2 = (TOOLS / "python-2/bin/python", CLIENTS / "python_2.py")
DIRECT = Client("Python mcp 2.3.0", "auto", PYTHON_2)
WITH_ROOTS = Client("Python mcp 2.3.0", "auto+roots", PYTHON_2, has_roots=True)
ALL_CLIENTS = [
    *(Client("Python mcp 2.3.0", mode, PYTHON_2) for mode in ("auto", "legacy", "2026-07-28")),
    Client("Python mcp 1.30.0", "", (TOOLS / "python-1/bin/python", CLIENTS / "python_1.py")),
    *(
        Client("npm client 2.4.0", mode, ("node", CLIENTS / "client_2.mjs"))
        for mode in ("legacy", "auto", "2026-07-28")
    ),
    Client("npm sdk 1.32.2", "", ("node", CLIENTS / "sdk_1.mjs")),
    *(
        Client("Inspector 2.12.0", mode, INSPECTOR, completes=False, has_roots=True)
        for mode in ("legacy", "auto", "modern")
    ),
]


@dataclass
class Truth:
    """What a server says when it is asked directly."""

    lists: dict[str, Any]
    answers: list[dict[str, Any]]
    lists_with_roots: dict[str, Any]

    def to(self, client: Client) -> "Truth":
        """What it says to such a client."""
        return replace(self, lists=self.lists_with_roots) if client.has_roots else self

    def items(self, method: str) -> list[Any]:
        return self.lists[method][LISTS[method]]


@dataclass
class Cell:
    checks: int = 0
    problems: list[str] = field(default_factory=list)

    def check(self, label: str, expected: Any, found: Any) -> None:
        self.checks += 1
        if expected != found:
            place, *values = difference(expected, found)
            direct, through = (json.dumps(value, ensure_ascii=False)[:500] for value in values)
            self.problems.append(
                f"{label} {place}\n      direct:  {direct}\n      through: {through}"
            )

    def __str__(self) -> str:
        return f"✓ {self.checks}" if self.checks and not self.problems else "✗"


def difference(expected: Any, found: Any, place: str = "") -> tuple[str, Any, Any]:
    """The first place where two unequal values differ, and both sides of it."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [*expected, *(name for name in found if name not in expected)]
        name = next(name for name in names if expected.get(name) != found.get(name))
        return difference(expected.get(name), found.get(name), f"{place}.{name}")
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        at = next(at for at, inner in enumerate(expected) if inner != found[at])
        return difference(expected[at], found[at], f"{place}[{at}]")
    return place, expected, found


def plain(value: Any) -> Any:
    """Without what the SDKs add or leave out on their own: nulls and empty `_meta`."""
    if isinstance(value, dict):
        kept = {name: plain(inner) for name, inner in value.items() if inner is not None}
        return {name: inner for name, inner in kept.items() if (name, inner) != ("_meta", {})}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def essence(method: str, answer: dict[str, Any]) -> Any:
    """What must be equal: the result without its envelope."""
    if "error" in answer:
        return "error"
    result = plain(answer["result"])
    if method == "tools/call":
        result.setdefault("isError", False)
    envelope = ("_meta", "resultType", "ttlMs", "cacheScope")
    result = {name: inner for name, inner in result.items() if name not in envelope}
    return json.loads(TODAY.sub("TODAY", json.dumps(result)))


def without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    """A definition without its address, and without what only some eras have: `execution` tells
    of the tasks that 2026-07-28 removed. An empty list of arguments is the same as none."""
    names = (*names, "_meta", "execution")
    kept = {name: inner for name, inner in plain(item).items() if name not in names}
    return {name: inner for name, inner in kept.items() if (name, inner) != ("arguments", [])}


def filled(uri: str) -> str:
    return uri.replace("{id}", "7")


Rename = Callable[[str], str]


def renamed(step: Step, name: Rename, uri: Rename) -> Step:
    """The step in the words of the endpoint that it is asked at."""
    method, params = step
    if "uri" in params:
        return method, {"uri": filled(uri(params["uri"]))}
    if "ref" in params:
        return method, {**params, "ref": {**params["ref"], "name": name(params["ref"]["name"])}}
    return method, {**params, "name": name(params["name"])}


def same(text: str) -> str:
    return text


def qualified(server: str) -> Rename:
    return lambda word: f"{server}__{word}"


def direct_truth(server: Server) -> Truth:
    lists = DIRECT.lists(server.target, "")
    answers = DIRECT.ask(server.target, "", [renamed(step, same, same) for step in server.steps])
    truth = Truth(lists, answers, WITH_ROOTS.lists(server.target, ""))
    assert truth.items("tools/list"), f"{server.name} offers no tools when asked directly"
    failed = [answer for answer in answers if "result" not in answer]
    assert answers and not failed, f"{server.name} refuses when asked directly: {failed}"
    return truth


def compare_lists(
    cell: Cell, truth: Truth, listed: dict[str, Any], name: Rename, server: str
) -> Rename:
    """Compares every definition of a server; where its URIs are found in the lists."""
    for method in ("tools/list", "prompts/list"):
        through = {item["name"]: item for item in listed[method][LISTS[method]]}
        for item in truth.items(method):
            found = through.get(name(item["name"]))
            cell.check(name(item["name"]), without(item, "name"), found and without(found, "name"))
    places: dict[str, str] = {}
    for method, member in (("resources/list", "uri"), ("resources/templates/list", "uriTemplate")):
        for item in truth.items(method):
            twins = [
                found[member]
                for found in listed[method][LISTS[method]]
                if without(found, member) == without(item, member)
            ]
            # A URI that two servers offer is rewritten, and then names its server.
            own = [uri for uri in twins if server in uri]
            own = own or [uri for uri in twins if uri == item[member]]
            cell.check(f"{item[member]} is listed", True, bool(own))
            places[item[member]] = own[0] if own else item[member]
    return lambda uri: places.get(uri, uri)


def compare_answers(
    client: Client, target: str, key: str, asked: list[tuple[Cell, Step, Step, dict[str, Any]]]
) -> None:
    """Asks everything over one connection. Each entry: cell, step as said directly, step as said
    here, answer given directly."""
    # The command line of the Inspector has no word for completion.
    asked = [entry for entry in asked if client.completes or entry[1][0] != "completion/complete"]
    answers = client.ask(target, key, [here for _, _, here, _ in asked])
    for (cell, (method, params), (_, said), truth), answer in zip(asked, answers, strict=True):
        found = json.dumps(essence(method, answer))
        if "uri" in said:
            found = found.replace(said["uri"], filled(params["uri"]))
        label = f"{method} {json.dumps(params, ensure_ascii=False)[:120]}"
        expected = essence(method, truth)
        cell.check(label, expected, json.loads(found))
        if "error" in answer and cell.problems:
            cell.problems[-1] += f"\n      error:   {json.dumps(answer['error'])[:700]}"


def check_union(cell: Cell, truths: dict[str, Truth], listed: dict[str, Any]) -> None:
    """Nothing is missing, nothing is there twice, nothing is too much."""
    for method in ("tools/list", "prompts/list"):
        names = [item["name"] for item in listed[method][LISTS[method]]]
        expected = {
            qualified(server)(item["name"])
            for server, truth in truths.items()
            for item in truth.items(method)
        }
        cell.check(f"{method} names", sorted(expected), sorted(names))
        cell.check(f"{method} too long", [], [name for name in names if len(name) > NAME_LIMIT])
    for method in ("resources/list", "resources/templates/list"):
        items = listed[method][LISTS[method]]
        expected = sum(len(truth.items(method)) for truth in truths.values())
        cell.check(f"{method} count", expected, len(items))
        uris = Counter(item.get("uri") or item.get("uriTemplate") for item in items)
        cell.check(f"{method} twice", [], [uri for uri, count in uris.items() if count > 1])
    for method, answer in listed.items():
        cell.check(f"{method} missing servers", None, answer.get("_meta", {}).get(MISSING))


def through_gateway(
    client: Client, gateway: Gateway, servers: list[Server], truths: dict[str, Truth]
) -> dict[str, Cell]:
    """One row of the table."""
    cells = {name: Cell() for name in [*truths, UNION]}
    url = f"{gateway.url}/mcp"
    try:
        listed = client.lists(url, gateway.key)
        check_union(cells[UNION], truths, listed)
        asked: list[tuple[Cell, Step, Step, dict[str, Any]]] = []
        for server in servers:
            cell, truth = cells[server.name], truths[server.name]
            name = qualified(server.name)
            uri = compare_lists(cell, truth, listed, name, server.name)
            for step, answer in zip(server.steps, truth.answers, strict=True):
                asked.append((cell, step, renamed(step, name, uri), answer))
        compare_answers(client, url, gateway.key, asked)
        compare_lists(cells[OWN], truths[OWN], listed, qualified(OWN), OWN)
        check_own(cells[OWN], client, gateway, truths)
    except BROKEN as error:
        cells[UNION].problems.append(str(error))
    return cells


def check_own(cell: Cell, client: Client, gateway: Gateway, truths: dict[str, Truth]) -> None:
    """The built-in tools that need no arguments answer, and one of them knows every server."""
    tools = truths[OWN].items("tools/list")
    free = [tool["name"] for tool in tools if not tool["inputSchema"].get("required")]
    steps = [call(f"{OWN}__{tool}") for tool in free]
    answers = client.ask(f"{gateway.url}/mcp", gateway.key, steps)
    texts = [json.dumps(answer) for answer in answers]
    failed = [a for a in answers if "error" in a or a["result"].get("isError")]
    cell.check("built-in tools that fail", [], failed)
    knows = any(all(server in text for server in truths) for text in texts)
    cell.check("a built-in tool names every server", True, knows)


def own_endpoints(
    gateway: Gateway, servers: list[Server], truths: dict[str, Truth]
) -> dict[str, Cell]:
    """The row for `/servers/{name}/mcp`: exactly the server itself, without a prefix."""
    cells = {server.name: Cell() for server in servers}
    for server in servers:
        cell, truth = cells[server.name], truths[server.name]
        url = f"{gateway.url}/servers/{server.name}/mcp"
        listed = DIRECT.lists(url, gateway.key)
        for method, member in LISTS.items():
            expected = [without(item) for item in truth.items(method)]
            found = [without(item) for item in listed[method][member]]
            cell.check(f"{method} at {url}", expected, found)
        asked = [
            (cell, step, renamed(step, same, same), answer)
            for step, answer in zip(server.steps, truth.answers, strict=True)
        ]
        compare_answers(DIRECT, url, gateway.key, asked)
    return cells


def without_gateway(client: Client, server: Server, truth: Truth) -> Cell:
    """The client asks the server itself."""
    cell = Cell()
    try:
        listed = client.lists(server.url, "")
        uri = compare_lists(cell, truth, listed, same, server.name)
        asked = [
            (cell, step, renamed(step, same, uri), answer)
            for step, answer in zip(server.steps, truth.answers, strict=True)
        ]
        compare_answers(client, server.url, "", asked)
    except BROKEN as error:
        cell.problems.append(str(error))
    return cell


def prove_scripts(servers: list[Server], truths: dict[str, Truth]) -> dict[str, dict[str, Cell]]:
    """Clients that speak only 2026-07-28 are left out where the server does not."""
    on_http = [server for server in servers if server.url]
    modern_only = ("2026-07-28", "modern")
    return {
        client.title: {
            server.name: without_gateway(client, server, truths[server.name].to(client))
            for server in on_http
            if not (server.name == "fixture-legacy" and client.mode in modern_only)
        }
        for client in ALL_CLIENTS
    }


def prove_gateway(
    folder: Path, servers: list[Server], truths: dict[str, Truth]
) -> dict[str, dict[str, Cell]]:
    gateway = Gateway(folder)
    with gateway:
        for server in servers:
            gateway.register(server.name, server.url, server.command, server.env)
        url = f"{gateway.url}/servers/{OWN}/mcp"
        # Nobody can ask the built-in server but through the gateway.
        own = DIRECT.lists(url, gateway.key)
        truths = {**truths, OWN: Truth(own, [], own)}
        assert truths[OWN].items("tools/list"), "the built-in server offers no tools"
        expected = sum(len(truth.items("tools/list")) for truth in truths.values())
        until(lambda: len(gateway.tools()["tools"]) == expected, f"{expected} tools", 60)
        rows = {}
        for client in ALL_CLIENTS:
            print(f"  {client.title}", flush=True)
            told = {name: truth.to(client) for name, truth in truths.items()}
            rows[client.title] = through_gateway(client, gateway, servers, told)
        rows[f"{DIRECT.title} at /servers/…"] = own_endpoints(gateway, servers, truths)
    return rows


def table(rows: dict[str, dict[str, Cell]], columns: list[str]) -> str:
    """The result as Markdown; the number in a cell counts what was compared."""
    lines = [["client", *columns], ["---"] * (len(columns) + 1)]
    lines += [[title, *(str(row.get(c, "")) for c in columns)] for title, row in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def report(rows: dict[str, dict[str, Cell]], columns: list[str], written: Path) -> bool:
    """Prints and writes the table; whether every cell is green."""
    cells = [(title, column, cell) for title, row in rows.items() for column, cell in row.items()]
    assert cells, "nothing was compared"
    bad = [(title, column, cell) for title, column, cell in cells if not str(cell).startswith("✓")]
    for title, column, cell in bad:
        print(f"✗ {title} × {column}: {len(cell.problems)} of {cell.checks} differ")
        for problem in cell.problems[:5]:
            print(f"    {problem}")
    text = f"{table(rows, columns)}\n{len(cells) - len(bad)} passed, {len(bad)} failed"
    written.write_text(text + "\n")
    print(text)
    return not bad


def main() -> None:
    direct = "--direct" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as home, fleet(Path(home)) as servers:
        assert len(servers) == 8
        truths = {server.name: direct_truth(server) for server in servers}
        for server in servers:
            truth = truths[server.name]
            counts = ", ".join(f"{len(truth.items(m))} {name}" for m, name in LISTS.items())
            print(f"  {server.name}: {counts}; {len(truth.answers)} answers")
        if direct:
            rows = prove_scripts(servers, truths)
            columns = [server.name for server in servers if server.url]
        else:
            rows = prove_gateway(Path(home), servers, truths)
            columns = [*(server.name for server in servers), OWN, UNION]
    written = ROOT / ("target/direct.md" if direct else "target/matrix.md")
    sys.exit(not report(rows, columns, written))


if __name__ == "__main__":
    main()
