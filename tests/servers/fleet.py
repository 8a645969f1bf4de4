"""The eight real servers: how each is started, and what it is asked.

Steps are [method, params] in the words of the server itself. What they answer must not depend on
the moment or on the process: the same step is asked directly and through the gateway.
"""

import functools
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from process import TOOLS, free_port, running

Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Server:
    """A real server, on stdio (command) or HTTP (url)."""

    name: str
    steps: list[Step]
    url: str = ""
    command: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """How the direct client names it."""
        if self.url:
            return self.url
        return json.dumps({"command": self.command[0], "args": self.command[1:], "env": self.env})


def call(name: str, **arguments: Any) -> Step:
    return "tools/call", {"name": name, "arguments": arguments}


def prompt(name: str, **arguments: str) -> Step:
    return "prompts/get", {"name": name, "arguments": arguments}


def read(uri: str) -> Step:
    return "resources/read", {"uri": uri}


def complete(name: str, argument: str, value: str) -> Step:
    reference = {"type": "ref/prompt", "name": name}
    return "completion/complete", {"ref": reference, "argument": {"name": argument, "value": value}}


EVERYTHING = [
    call("echo", message="grüße, 世界 \u0000 \\u0000 \"'"),
    call("get-sum", a=2, b=40),
    call("get-structured-content", location="Chicago"),
    call("get-annotated-message", messageType="error", includeImage=True),
    call("get-tiny-image"),
    call("get-resource-links", count=2),
    call("echo"),
    prompt("simple-prompt"),
    prompt("args-prompt", city="Bern", state="BE"),
    read("demo://resource/static/document/features.md"),
    complete("completable-prompt", "department", "E"),
]

FIXTURE = [
    call("test_simple_text"),
    call("test_image_content"),
    call("test_audio_content"),
    call("test_embedded_resource"),
    call("test_multiple_content_types"),
    call("test_error_handling"),
    call("test_tool_with_logging"),
    prompt("test_simple_prompt"),
    prompt("test_prompt_with_arguments", arg1="one", arg2="two words"),
    prompt("test_prompt_with_image"),
    read("test://static-text"),
    read("test://static-binary"),
    read("test://template/{id}/data"),
    complete("test_prompt_with_arguments", "arg1", "o"),
]

DUAL = [*FIXTURE, call("test_x_mcp_header", region="eu west"), call("json_schema_2020_12_tool")]


def node(package: str) -> list[str]:
    entry = TOOLS / f"node/node_modules/@modelcontextprotocol/{package}/dist/index.js"
    return ["node", str(entry)]


def python(script: str) -> str:
    return str(TOOLS / "python-2/bin" / script)


def stdio(folder: Path, page: str) -> list[Server]:
    files, repository, graph = folder / "files", folder / "repository", folder / "graph.jsonl"
    entity = {"name": "visitor", "entityType": "guest", "observations": ["came in"]}
    return [
        Server("everything", EVERYTHING, command=node("server-everything")),
        Server(
            "filesystem",
            [
                call("list_allowed_directories"),
                call("read_text_file", path=str(files / "letter.txt")),
                call("list_directory", path=str(files)),
                call("read_text_file", path="/etc/passwd"),
            ],
            command=[*node("server-filesystem"), str(files)],
        ),
        Server(
            "memory",
            [
                call("create_entities", entities=[entity]),
                call("search_nodes", query="came"),
                call("delete_entities", entityNames=["visitor"]),
                call("read_graph"),
                read("memory://knowledge-graph"),
            ],
            command=node("server-memory"),
            env={"MEMORY_FILE_PATH": str(graph)},
        ),
        Server(
            "time",
            [
                call("convert_time", source_timezone="UTC", time=time, target_timezone="Asia/Tokyo")
                for time in ("12:30", "25:00")
            ],
            command=[python("mcp-server-time"), "--local-timezone", "UTC"],
        ),
        Server(
            "git",
            [
                call("git_log", repo_path=str(repository)),
                call("git_status", repo_path=str(repository)),
                call("git_show", repo_path=str(repository), revision="HEAD"),
            ],
            command=[python("mcp-server-git"), "--repository", str(repository)],
        ),
        Server(
            "fetch",
            [call("fetch", url=f"{page}/page.txt"), call("fetch", url=f"{page}/nowhere.txt")],
            command=[python("mcp-server-fetch"), "--allow-private-ips"],
        ),
    ]


def furnish(folder: Path) -> None:
    """The files, the repository, the graph and the page that the servers are asked about."""
    (folder / "files").mkdir()
    (folder / "files/letter.txt").write_text("Dear gateway,\nnothing is lost.\n")
    seed = {"type": "entity", "name": "house", "entityType": "building", "observations": ["stands"]}
    (folder / "graph.jsonl").write_text(json.dumps(seed) + "\n")
    (folder / "web").mkdir()
    (folder / "web/robots.txt").write_text("User-agent: *\nAllow: /\n")
    (folder / "web/page.txt").write_text("A page of plain text.\n")
    repository = folder / "repository"
    moment = "2026-01-02T03:04:05Z"
    author = {"NAME": "Ada", "EMAIL": "ada@example.org", "DATE": moment}
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in author.items()
    }
    git = functools.partial(subprocess.run, check=True, env={**os.environ, **identity})
    git(["git", "init", "--quiet", "--initial-branch=main", repository])
    (repository / "README").write_text("first\n")
    git(["git", "-C", repository, "add", "README"])
    git(["git", "-C", repository, "commit", "--quiet", "--message=Begin"])
    (repository / "draft").write_text("not yet added\n")


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """A static site on loopback; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fixture(generation: int, port: int) -> tuple[list[str], dict[str, str]]:
    """The conformance fixture: command and environment. 1 knows only sessions, 2 both eras."""
    version = {1: "1.30.0", 2: "2.3.0"}[generation]
    source = TOOLS / f"fixtures/mcp-{version}/examples/servers/everything-server"
    interpreter = str(TOOLS / f"python-{generation}/bin/python")
    command = [interpreter, "-m", "mcp_everything_server", "--port", str(port)]
    return command, {"PYTHONPATH": str(source)}


@contextmanager
def fleet(folder: Path) -> Iterator[list[Server]]:
    """All eight, those on HTTP started; those on stdio are started by whoever asks them."""
    furnish(folder)
    with ExitStack() as stack:
        servers = stdio(folder, stack.enter_context(web(folder / "web")))
        for generation, name, steps in ((2, "fixture-dual", DUAL), (1, "fixture-legacy", FIXTURE)):
            port = free_port()
            command, env = fixture(generation, port)
            stack.enter_context(running(command, port, folder / f"{name}.log", env))
            servers.append(Server(name, steps, url=f"http://127.0.0.1:{port}/mcp"))
        yield servers
