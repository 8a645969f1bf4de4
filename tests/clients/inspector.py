"""Client: the command line of the MCP Inspector, in the modes `legacy`, `auto` and `modern`.

Same contract as `python_2.py`, but each request is a process and a connection of its own, as a
person at a terminal would make it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NODE = Path(__file__).parents[2] / "target/tools/node/node_modules"
COMMAND = [
    NODE / ".bin/node",
    NODE / "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
    "--cli",
]


def flags(method: str, params: dict[str, Any]) -> list[str]:
    match method:
        case "tools/call":
            arguments = json.dumps(params.get("arguments", {}))
            return ["--tool-name", params["name"], "--tool-args-json", arguments]
        case "prompts/get":
            pairs = [f"{name}={value}" for name, value in params.get("arguments", {}).items()]
            return ["--prompt-name", params["name"], *(["--prompt-args", *pairs] if pairs else [])]
        case "resources/read":
            return ["--uri", params["uri"]]
    return []


def answer(target: list[str], home: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [*COMMAND, *target, "--method", method, *flags(method, params)],
        env={"PATH": os.environ["PATH"], "HOME": home},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.stdout.strip():
        return {"result": json.loads(done.stdout)["result"]}
    return {"error": {"code": done.returncode, "message": done.stderr.strip()}}


def main(url: str, key: str, mode: str) -> None:
    steps = json.load(sys.stdin)
    target = [url, "--transport", "http", "--protocol-era", mode, "--format", "json", "-q"]
    if key:
        target += ["--header", f"Authorization: Bearer {key}"]
    # A home of its own: the Inspector keeps catalogues and sign-ins there.
    with tempfile.TemporaryDirectory() as home:
        print(json.dumps([answer(target, home, *step) for step in steps]))


if __name__ == "__main__":
    main(*sys.argv[1:4])
