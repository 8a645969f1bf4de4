"""What both test servers offer and what a client is asked for, in plain words.

Each server serves it with its own SDK. What a tool has to remember lies in a folder, because a
gateway may ask several processes of one server.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

FORM_MESSAGE = "Which colour, how many, and is that sure?"
FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "title": "Colour", "enum": ["red", "blue"]},
        "number": {"type": "integer", "minimum": 1, "maximum": 9},
        "sure": {"type": "boolean", "default": False},
    },
    "required": ["colour", "number"],
}
FORM_ANSWER: dict[str, Any] = {"colour": "blue", "number": 3, "sure": True}
URL_MESSAGE = "Please sign in over there"
URL = "https://example.com/sign-in?from=tollhouse&hint=gr%C3%BC%C3%9Fe"
URL_ID = "sign-in-1"
ROOT = "file:///compatibility/root"
ROOT_NAME = "the root"
STEPS = ["one", "two", "three"]
MODEL = "a model"
LANGUAGES = ["french", "german", "greek"]
LOGGER = "offer"
TASKS = "io.modelcontextprotocol/tasks"
# What must come back from the client to the byte.
STATE = 'state/ä "quoted" {"n":1}'
TASK_RUNS_S = 0.2


def tool(name: str, *arguments: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {argument: {"type": "string"} for argument in arguments},
        "required": list(arguments),
    }
    return {"name": name, "description": f"Proves {name}", "inputSchema": schema}


TOOLS = [
    tool("echo", "text"),
    # Reports three steps, then waits for `release`: so the steps must arrive before the answer.
    tool("count", "name"),
    tool("release", "name"),
    # Never answers; `fate` tells whether it is `running` or `cancelled`.
    tool("wait", "name"),
    tool("fate", "name"),
    tool("ask_form"),
    tool("ask_url"),
    tool("sample", "prompt"),
    tool("roots"),
    # Says the text at the levels debug and info.
    tool("log", "text"),
    # Adds a tool of that name.
    tool("change", "name"),
    # Says that the resource has changed.
    tool("touch", "uri"),
    # Only as a task.
    tool("slow", "text"),
]
RESOURCES = [{"name": "first", "uri": "note://first"}]
TEMPLATES = [{"name": "note", "uriTemplate": "note://{name}"}]
PROMPTS = [{"name": "greet", "arguments": [{"name": "language", "required": True}]}]


def completions(value: str) -> list[str]:
    return [language for language in LANGUAGES if language.startswith(value)]


class Board:
    """One small file for each word that was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, word: str) -> None:
        # Renamed into place, so that nobody reads half a word.
        draft = self.folder / f"{quote(name, safe='')}.draft"
        draft.write_text(word)
        draft.rename(self.folder / quote(name, safe=""))

    def read(self, name: str) -> str:
        place = self.folder / quote(name, safe="")
        return place.read_text() if place.exists() else ""

    def add_tool(self, name: str) -> None:
        self.write("added", name)

    def tools(self) -> list[dict[str, Any]]:
        """The fixed tools and the last one that was added."""
        added = self.read("added")
        return [*TOOLS, *([tool(added)] if added else [])]


class Tasks:
    """Tasks of the extension `io.modelcontextprotocol/tasks`: each works for a moment."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.texts: list[tuple[float, str]] = []
        self.cancelled: set[str] = set()

    def start(self, text: str) -> dict[str, Any]:
        self.texts.append((self.clock(), text))
        return {"resultType": "task", **self.base(f"task-{len(self.texts)}"), "status": "working"}

    def base(self, task: str) -> dict[str, Any]:
        moment = "2026-08-01T00:00:00Z"
        return {
            "taskId": task,
            "createdAt": moment,
            "lastUpdatedAt": moment,
            "ttlMs": 60_000,
            "pollIntervalMs": 50,
        }

    def get(self, task: str) -> dict[str, Any] | None:
        number = int(task.removeprefix("task-"))
        if not 0 < number <= len(self.texts):
            return None
        began, text = self.texts[number - 1]
        known = {"resultType": "complete", **self.base(task)}
        if task in self.cancelled:
            return {**known, "status": "cancelled"}
        if self.clock() - began < TASK_RUNS_S:
            return {**known, "status": "working"}
        content = [{"type": "text", "text": f"slow: {text}"}]
        result = {"resultType": "complete", "content": content}
        return {**known, "status": "completed", "result": result}


def said(value: Any) -> str:
    """The same value is the same text in every language."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sampled(prompt: str) -> str:
    """What the model of the client makes of a prompt."""
    return f"sampled: {prompt}"
