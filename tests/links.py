"""The gateway as a client of authorization servers, judged by the official suite.

In every scenario `auth/…` the suite plays a server and whoever gives its tokens. The gateway stands
before it, somebody signs in there as a browser would, and calls through the gateway. What the suite
saw is kept in `target/conformance/links/`. `… NAME…` runs only the scenarios named.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway import Gateway
from process import ROOT, SUITE, TOOLS

PASSWORD = "a passphrase of some length"
PERSON = "ana"
CLIENT = (TOOLS / "python-2/bin/python", ROOT / "tests/clients/link_client.py")
EVIDENCE = ROOT / "target/conformance/links"
SECONDS = 60

# Extensions that the gateway does not speak. Each is of 2026-07-28 or later, and optional.
BEYOND = {
    "auth/client-credentials-jwt": "clients prove themselves by a secret, not by a key",
    "auth/enterprise-managed-authorization": "no identity assertions (ID-JAG) are exchanged",
    "auth/dpop": "tokens are shown as they are, not bound to a key",
    "auth/dpop-nonce": "tokens are shown as they are, not bound to a key",
    "auth/wif-jwt-bearer": "no workload identity is exchanged",
}


def suite(*words: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in (*SUITE, *words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **(env or {})},
    )
    return done.stdout + done.stderr


def scenarios() -> list[str]:
    listed = re.findall(r"^\s+- (auth/\S+)", suite("list"), re.MULTILINE)
    assert len(listed) > len(BEYOND) and set(BEYOND) < set(listed), listed
    return listed


def judge(gateway: Gateway, scenario: str, number: int) -> tuple[int, list[str]]:
    """How many checks succeed, and what is wrong."""
    folder = EVIDENCE / scenario.removeprefix("auth/")
    folder.mkdir(parents=True)
    env = {
        "GATEWAY_URL": gateway.url,
        "GATEWAY_KEY": gateway.key,
        "SERVER_NAME": f"suite-{number}",
        "PERSON": PERSON,
        "PASSWORD": PASSWORD,
    }
    command = shlex.join(str(word) for word in CLIENT)
    words = ("client", "--scenario", scenario, "--command", command, "-o", folder)
    (folder / "printed.txt").write_text(suite(*words, env=env))
    # Where a server or an issuer lies, nobody gets to call anything: the checks tell.
    [checks] = [json.loads(path.read_text()) for path in folder.rglob("checks.json")]
    good = sum(check["status"] == "SUCCESS" for check in checks)
    bad = [check for check in checks if check["status"] in ("FAILURE", "WARNING")]
    return good, [f"{check['id']}: {check.get('errorMessage') or check['name']}" for check in bad]


def main() -> None:
    only = sys.argv[1:]
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    failed = 0
    judged = [name for name in scenarios() if name in only or (not only and name not in BEYOND)]
    assert judged, f"there is no scenario {' or '.join(only)}"
    with tempfile.TemporaryDirectory(prefix="tollhouse-") as home:
        with Gateway(Path(home)) as gateway:
            words = ("create", PERSON, "--role", "user", "--password-stdin")
            gateway.command("user", *words, stdin=PASSWORD)
            for number, scenario in enumerate(judged):
                good, problems = judge(gateway, scenario, number)
                if not good:
                    problems.append("nothing succeeded")
                print(f"{'✗' if problems else '✓'} {scenario}: {good} checks", flush=True)
                for problem in problems:
                    print(f"    {problem}")
                failed += bool(problems)
    for scenario, why in BEYOND.items():
        print(f"- {scenario}: not spoken, {why}")
    print(f"{len(judged) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
