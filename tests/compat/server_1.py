"""Server: the Python SDK, `mcp` 1.x, which knows only sessions. Arguments: TRANSPORT FOLDER [PORT].

The transport is `stdio`, `http`, `sse` (HTTP+SSE of 2024-11-05) or `websocket`.
"""

import contextlib
import sys
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import anyio
import uvicorn
from mcp.server.experimental.task_context import ServerTaskContext
from mcp.server.fastmcp.server import StreamableHTTPASGIApp
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.websocket import websocket_server
from mcp.shared.exceptions import McpError
from mcp.types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    TASK_REQUIRED,
    CallToolResult,
    ClientCapabilities,
    Completion,
    CompletionArgument,
    CreateTaskResult,
    ElicitationCapability,
    ErrorData,
    GetPromptResult,
    LoggingLevel,
    Prompt,
    PromptMessage,
    Resource,
    ResourceTemplate,
    RootsCapability,
    SamplingCapability,
    SamplingMessage,
    TextContent,
    Tool,
    ToolExecution,
)
from pydantic import AnyUrl
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

import offer

LEVELS: list[LoggingLevel] = ["debug", "info", "notice", "warning", "error", "critical"]
# A session whose client has gone may never take the message.
PATIENCE_S = 1


def said(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)])


class Play:
    """The handlers of one server process, and what its sessions asked to be told."""

    def __init__(self, server: Server[Any, Any], folder: Path) -> None:
        self.server = server
        self.board = offer.Board(folder)
        self.sessions: WeakSet[ServerSession] = WeakSet()
        self.levels: WeakKeyDictionary[ServerSession, LoggingLevel] = WeakKeyDictionary()
        self.subscribed: WeakKeyDictionary[ServerSession, set[str]] = WeakKeyDictionary()

    @property
    def session(self) -> ServerSession:
        session = self.server.request_context.session
        self.sessions.add(session)
        return session

    @property
    def request(self) -> Any:
        return self.server.request_context.request_id

    def need(self, name: str, capability: ClientCapabilities) -> None:
        if not self.session.check_client_capability(capability):
            raise ValueError(f"the client declared no {name}")

    async def list_tools(self) -> list[Tool]:
        assert self.session
        tools = [Tool.model_validate(tool) for tool in self.board.tools()]
        for tool in tools:
            if tool.name == "slow":
                tool.execution = ToolExecution(taskSupport=TASK_REQUIRED)
        return tools

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult | CreateTaskResult:
        match name:
            case "echo":
                return said(f"echo: {arguments['text']}")
            case "count":
                return await self.count(arguments["name"])
            case "release":
                self.board.write(arguments["name"], "released")
                return said("released")
            case "wait":
                return await self.wait(arguments["name"])
            case "fate":
                return said(self.board.read(arguments["name"]))
            case "ask_form":
                return await self.ask_form()
            case "ask_url":
                return await self.ask_url()
            case "sample":
                return await self.sample(arguments["prompt"])
            case "roots":
                return await self.roots()
            case "log":
                return await self.log(arguments["text"])
            case "change":
                self.board.add_tool(arguments["name"])
                await self.tell_all()
                return said("changed")
            case "touch":
                await self.tell_subscribers(AnyUrl(arguments["uri"]))
                return said("touched")
            case "slow":
                return await self.slow(arguments["text"])
        raise McpError(ErrorData(code=INVALID_PARAMS, message=f"no such tool: {name}"))

    async def count(self, name: str) -> CallToolResult:
        token = getattr(self.server.request_context.meta, "progressToken", None)
        for number, step in enumerate(offer.STEPS, 1):
            if token is not None:
                await self.session.send_progress_notification(
                    token, number, len(offer.STEPS), step, related_request_id=self.request
                )
        while self.board.read(name) != "released":
            await anyio.sleep(0.01)
        return said("counted")

    async def wait(self, name: str) -> CallToolResult:
        self.board.write(name, "running")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.board.write(name, "cancelled")
            raise

    async def ask_form(self) -> CallToolResult:
        self.need("elicitation", ClientCapabilities(elicitation=ElicitationCapability()))
        answer = await self.session.elicit_form(
            offer.FORM_MESSAGE, offer.FORM_SCHEMA, related_request_id=self.request
        )
        return said(f"{answer.action} {offer.said(answer.content)}")

    async def ask_url(self) -> CallToolResult:
        self.need("elicitation", ClientCapabilities(elicitation=ElicitationCapability()))
        answer = await self.session.elicit_url(
            offer.URL_MESSAGE, offer.URL, offer.URL_ID, related_request_id=self.request
        )
        return said(answer.action)

    async def sample(self, prompt: str) -> CallToolResult:
        self.need("sampling", ClientCapabilities(sampling=SamplingCapability()))
        content = TextContent(type="text", text=prompt)
        # Without `related_request_id`, as most servers do: over HTTP it takes the GET stream.
        answer = await self.session.create_message(
            [SamplingMessage(role="user", content=content)], max_tokens=50
        )
        assert isinstance(answer.content, TextContent)
        return said(f"{answer.model}: {answer.content.text}")

    async def roots(self) -> CallToolResult:
        self.need("roots", ClientCapabilities(roots=RootsCapability()))
        answer = await self.session.list_roots()
        return said(offer.said([{"uri": str(r.uri), "name": r.name} for r in answer.roots]))

    async def log(self, text: str) -> CallToolResult:
        least = LEVELS.index(self.levels.get(self.session, "info"))
        for level in LEVELS[:2]:
            if LEVELS.index(level) >= least:
                await self.session.send_log_message(level, text, offer.LOGGER, self.request)
        return said("logged")

    async def tell_all(self) -> None:
        for session in [self.session, *self.sessions.difference([self.session])]:
            with anyio.move_on_after(PATIENCE_S), contextlib.suppress(anyio.ClosedResourceError):
                await session.send_tool_list_changed()

    async def tell_subscribers(self, uri: AnyUrl) -> None:
        for session, uris in list(self.subscribed.items()):
            if str(uri) in uris:
                with (
                    anyio.move_on_after(PATIENCE_S),
                    contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError),
                ):
                    await session.send_resource_updated(uri)

    async def slow(self, text: str) -> CreateTaskResult:
        experimental = self.server.request_context.experimental
        if not experimental.is_task:
            raise McpError(ErrorData(code=METHOD_NOT_FOUND, message="slow is only a task"))

        async def work(_: ServerTaskContext) -> CallToolResult:
            await anyio.sleep(offer.TASK_RUNS_S)
            return said(f"slow: {text}")

        return await experimental.run_task(work)

    async def set_level(self, level: LoggingLevel) -> None:
        self.levels[self.session] = level

    async def subscribe(self, uri: AnyUrl) -> None:
        self.subscribed.setdefault(self.session, set()).add(str(uri))

    async def unsubscribe(self, uri: AnyUrl) -> None:
        self.subscribed.get(self.session, set()).discard(str(uri))


class Announced(Server[Any, Any]):
    """Declares what the SDK can do and does not declare by itself."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        changes = notification_options or NotificationOptions(tools_changed=True)
        options = super().create_initialization_options(changes, experimental_capabilities)
        assert options.capabilities.resources
        options.capabilities.resources.subscribe = True
        return options


def serve(folder: Path) -> tuple[Server[Any, Any], Any]:
    server = Announced("offer-legacy", version="1")
    play = Play(server, folder)
    server.list_tools()(play.list_tools)
    server.call_tool()(play.call)
    server.set_logging_level()(play.set_level)
    server.subscribe_resource()(play.subscribe)
    server.unsubscribe_resource()(play.unsubscribe)

    @server.list_resources()
    async def resources() -> list[Resource]:
        return [Resource.model_validate(resource) for resource in offer.RESOURCES]

    @server.list_resource_templates()
    async def templates() -> list[ResourceTemplate]:
        return [ResourceTemplate.model_validate(template) for template in offer.TEMPLATES]

    @server.read_resource()
    async def read(_: AnyUrl) -> str:
        return "a note"

    @server.list_prompts()
    async def prompts() -> list[Prompt]:
        return [Prompt.model_validate(prompt) for prompt in offer.PROMPTS]

    @server.get_prompt()
    async def prompt(_: str, arguments: dict[str, str] | None) -> GetPromptResult:
        content = TextContent(type="text", text=f"Greet in {(arguments or {}).get('language')}")
        return GetPromptResult(messages=[PromptMessage(role="user", content=content)])

    @server.completion()
    async def complete(_: Any, argument: CompletionArgument, __: Any) -> Completion:
        values = offer.completions(argument.value)
        return Completion(values=values, total=len(values))

    return server, server.experimental.enable_tasks()


@contextlib.asynccontextmanager
async def one_task_group(support: Any) -> AsyncIterator[None]:
    """The SDK forgets the group that runs the tasks as soon as any session ends."""

    @contextlib.asynccontextmanager
    async def already_running() -> AsyncIterator[None]:
        yield

    async with support.run():
        support.run = already_running
        yield


def web(transport: str, server: Server[Any, Any], support: Any) -> Starlette:
    manager = StreamableHTTPSessionManager(server)
    streams = SseServerTransport("/messages/")

    async def sse(request: Any) -> Response:
        sending = request._send  # noqa: SLF001
        async with streams.connect_sse(request.scope, request.receive, sending) as (read, write):
            await server.run(read, write, server.create_initialization_options())
        return Response()

    async def websocket(socket: Any) -> None:
        sending = socket._send  # noqa: SLF001
        async with websocket_server(socket.scope, socket._receive, sending) as (read, write):
            await server.run(read, write, server.create_initialization_options())

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with one_task_group(support), manager.run():
            yield

    routes: dict[str, list[Any]] = {
        "http": [Route("/mcp", StreamableHTTPASGIApp(manager))],
        "sse": [Route("/sse", sse), Mount("/messages/", app=streams.handle_post_message)],
        "websocket": [WebSocketRoute("/ws", websocket)],
    }
    return Starlette(routes=routes[transport], lifespan=life)


async def over_stdio(server: Server[Any, Any], support: Any) -> None:
    async with one_task_group(support), stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def main(transport: str, folder: str, port: str = "0") -> None:
    # WebSocket and tasks are on their way out, and are what is tested here.
    warnings.simplefilter("ignore", DeprecationWarning)
    server, support = serve(Path(folder))
    if transport == "stdio":
        anyio.run(over_stdio, server, support)
    else:
        uvicorn.run(web(transport, server, support), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
