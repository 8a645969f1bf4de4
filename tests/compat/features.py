"""The features that a client proves, in the words of a `Visitor`: a connection of either SDK.

A feature is proved by its content. What was answered with an error is kept apart from what was
not answered, because a feature that two ends cannot express must be refused, and not forgotten.
"""

import json
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import anyio

import offer

T = TypeVar("T")
LIMIT_S = 10
# After so many features without any answer nothing else is tried.
PATIENCE = 3
SILENCE = f"nothing within {LIMIT_S} s"


class Refused(Exception):
    """The server or the gateway answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Visitor(ABC):
    """One connection, what arrived on it unasked, and what the client was asked."""

    def __init__(self) -> None:
        # Names that no other run uses.
        self.mark = f"{time.time_ns():x}"
        self.logs: list[tuple[str, Any, str | None]] = []
        self.list_changes = 0
        self.updates: list[str] = []
        self.asked: list[dict[str, Any]] = []

    @abstractmethod
    async def tools(self) -> list[str]:
        """The names of all tools."""

    @abstractmethod
    async def call(
        self, tool: str, arguments: dict[str, str], on_progress: Callable[..., Any] | None = None
    ) -> str:
        """The text of the answer; `Refused` when that is an error."""

    @abstractmethod
    async def abandon(
        self, tool: str, arguments: dict[str, str], ready: Callable[[], Awaitable[Any]]
    ) -> None:
        """Calls a tool and cancels the call when it is ready."""

    @abstractmethod
    async def complete(self, value: str) -> list[str]:
        """What completes the argument of the prompt."""

    @abstractmethod
    async def hear(self, level: str) -> None:
        """Asks for log messages of this level and above."""

    @abstractmethod
    def watch(self, uri: str) -> AbstractAsyncContextManager[None]:
        """Asks to be told of changed lists and of changes of the resource."""

    @abstractmethod
    async def task(self, tool: str, arguments: dict[str, str]) -> tuple[list[str], str]:
        """Calls a tool as a task; the states that were seen and the text of the answer."""

    async def say(self, tool: str, **arguments: str) -> str:
        return await self.call(tool, arguments)


async def until(condition: Callable[[], T | Awaitable[T]]) -> T:
    """The first true answer; whoever asks brings a limit."""
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await anyio.sleep(0.01)


def same(expected: Any, found: Any, what: str) -> None:
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


async def call(visitor: Visitor) -> str:
    text = "grüße, 世界 \u0000 \"'"
    same(f"echo: {text}", await visitor.say("echo", text=text), "the answer")
    return "echoed"


async def progress(visitor: Visitor) -> str:
    """The tool answers only after the client, which has seen all steps, says so."""
    name = f"count-{visitor.mark}"
    steps: list[tuple[float, float | None, str | None]] = []
    answers: list[str] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async def count() -> None:
        answers.append(await visitor.call("count", {"name": name}, heard))

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await until(lambda: len(steps) >= len(offer.STEPS))
        same([], answers, "answered before the last step")
        await visitor.say("release", name=name)
    expected = [(number, len(offer.STEPS), step) for number, step in enumerate(offer.STEPS, 1)]
    same(expected, steps, "the steps")
    same(["counted"], answers, "the answer")
    return f"{len(steps)} steps before the answer"


async def cancel(visitor: Visitor) -> str:
    name = f"wait-{visitor.mark}"

    async def fate(word: str) -> bool:
        return await visitor.say("fate", name=name) == word

    await visitor.abandon("wait", {"name": name}, lambda: until(lambda: fate("running")))
    await until(lambda: fate("cancelled"))
    return "the server stopped working"


async def elicitation_form(visitor: Visitor) -> str:
    before = len(visitor.asked)
    answer = await visitor.say("ask_form")
    same(1, len(visitor.asked) - before, "questions")
    question = visitor.asked[-1]
    same(offer.FORM_MESSAGE, question.get("message"), "the message")
    same(offer.FORM_SCHEMA, question.get("requestedSchema"), "the schema")
    same(f"accept {offer.said(offer.FORM_ANSWER)}", answer, "the answer")
    return "the content came back"


async def elicitation_url(visitor: Visitor) -> str:
    before = len(visitor.asked)
    answer = await visitor.say("ask_url")
    same(1, len(visitor.asked) - before, "questions")
    question = visitor.asked[-1]
    same("url", question.get("mode"), "the mode")
    same(offer.URL, question.get("url"), "the address")
    same(offer.URL_MESSAGE, question.get("message"), "the message")
    same("accept", answer, "the answer")
    return "the consent came back"


async def sampling(visitor: Visitor) -> str:
    prompt = f"Write a line about {visitor.mark}"
    answer = await visitor.say("sample", prompt=prompt)
    same(f"{offer.MODEL}: {offer.sampled(prompt)}", answer, "the answer")
    return "the completion came back"


async def roots(visitor: Visitor) -> str:
    expected = [{"uri": offer.ROOT, "name": offer.ROOT_NAME}]
    same(expected, json.loads(await visitor.say("roots")), "the roots")
    return "the roots came back"


async def log(visitor: Visitor) -> str:
    await visitor.hear("info")
    text = f"log-{visitor.mark}"
    same("logged", await visitor.say("log", text=text), "the answer")
    await until(lambda: [entry for entry in visitor.logs if entry[1] == text])
    heard = [entry for entry in visitor.logs if entry[1] == text]
    same([("info", text, offer.LOGGER)], heard, "the messages")
    return "info heard, debug not"


async def list_changed(visitor: Visitor) -> str:
    name = f"added_{visitor.mark}"
    async with visitor.watch(f"note://{visitor.mark}"):
        before = visitor.list_changes
        same(False, name in await visitor.tools(), "the tool is there already")
        same("changed", await visitor.say("change", name=name), "the answer")
        await until(lambda: visitor.list_changes > before)
        # The first notification may be of a list that does not have it yet.
        await until(lambda: contains(visitor, name))
    return "told, and the new tool is listed"


async def contains(visitor: Visitor, name: str) -> bool:
    return name in await visitor.tools()


async def resource_update(visitor: Visitor) -> str:
    uri = f"note://{visitor.mark}"
    async with visitor.watch(uri):
        # Not subscribed, so it must stay silent.
        same("touched", await visitor.say("touch", uri="note://other"), "the answer")
        same("touched", await visitor.say("touch", uri=uri), "the answer")
        await until(lambda: visitor.updates)
    same({uri}, set(visitor.updates), "the resources")
    return "only the subscribed resource"


async def completion(visitor: Visitor) -> str:
    same(["german", "greek"], await visitor.complete("g"), "the values")
    return "two of three values"


async def task(visitor: Visitor) -> str:
    text = f"task-{visitor.mark}"
    states, answer = await visitor.task("slow", {"text": text})
    same(f"slow: {text}", answer, "the answer")
    if not states:
        return "waited for"
    same("completed", states[-1], "the last state")
    same("working", states[0], "the first state")
    return "worked, then completed"


FEATURES: dict[str, Callable[[Visitor], Awaitable[str]]] = {
    "call": call,
    "progress": progress,
    "cancel": cancel,
    "elicitation form": elicitation_form,
    "elicitation URL": elicitation_url,
    "sampling": sampling,
    "roots": roots,
    "log": log,
    "list_changed": list_changed,
    "resource update": resource_update,
    "completion": completion,
    "task": task,
}


def cause(error: BaseException) -> BaseException:
    """The first thing that went wrong in a group of tasks; a refusal before anything else."""
    if isinstance(error, BaseExceptionGroup):
        refused, _ = error.split(Refused)
        return cause((refused or error).exceptions[0])
    return error


def failure(error: BaseException) -> dict[str, Any]:
    found = cause(error)
    match found:
        case Refused():
            refusal = {"code": found.code, "message": found.message}
            return {"ok": False, "detail": str(found), "error": refusal}
        case AssertionError():
            return {"ok": False, "detail": str(found)}
    place = traceback.extract_tb(found.__traceback__)[-1]
    where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
    return {"ok": False, "detail": f"{type(found).__name__} at {where}: {found}"}


async def prove(visitor: Visitor, name: str) -> dict[str, Any]:
    with anyio.move_on_after(LIMIT_S) as limit:
        try:
            return {"ok": True, "detail": await FEATURES[name](visitor)}
        except Exception as error:  # noqa: BLE001, whatever it is, the other features are proved
            return failure(error)
    assert limit.cancelled_caught
    return {"ok": False, "detail": SILENCE}


async def prove_all(visitor: Visitor, names: Iterable[str], found: dict[str, Any]) -> None:
    for name in names:
        if sum(outcome["detail"] == SILENCE for outcome in found.values()) < PATIENCE:
            found[name] = await prove(visitor, name)
        else:
            found[name] = {"ok": False, "detail": f"not tried after {PATIENCE} silences"}


async def report(
    connection: AbstractAsyncContextManager[Visitor], wanted: Iterable[str]
) -> dict[str, Any]:
    """Proves the features over one connection; what could not be reached is there too."""
    found: dict[str, Any] = {}
    names = list(wanted) or list(FEATURES)
    try:
        with anyio.fail_after(LIMIT_S * (PATIENCE + 2)):
            async with connection as visitor:
                await prove_all(visitor, names, found)
    except Exception as error:  # noqa: BLE001, what fails while closing spoils nothing
        lost = failure(error)
        found |= {name: lost for name in names if name not in found}
    return found


async def visit_all(
    visit: Callable[[str], AbstractAsyncContextManager[Visitor]], target: str, wanted: Iterable[str]
) -> None:
    """Visits one target, or each of a JSON list; prints a line for each."""
    for one in json.loads(target) if target.startswith("[") else [target]:
        print(json.dumps(await report(visit(one), wanted)), flush=True)
