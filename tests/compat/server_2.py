"""Server: the Python SDK, `mcp` 2.x. Arguments: TRANSPORT ERA FOLDER [PORT].

The transport is `stdio` or `http`. The era is `modern`, which refuses `initialize`, or `dual`,
which leaves the choice to the client; tasks it knows only in 2026-07-28.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged
from mcp.types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequest,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListRootsRequest,
    ListRootsResult,
    ListToolsResult,
    PaginatedRequestParams,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    RequestParams,
    SamplingMessage,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
)

import offer

REVISION = "2026-07-28"
Context = ServerRequestContext[Any, Any]
Page = PaginatedRequestParams | None
Answer = CallToolResult | InputRequiredResult


class TaskParams(RequestParams):
    task_id: str


def said(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)])


def missing(capability: dict[str, Any]) -> MCPError:
    names = ", ".join(capability)
    needed = {"requiredCapabilities": capability}
    return MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, f"the client needs {names}", needed)


def question(name: str, arguments: dict[str, Any]) -> tuple[str, InputRequest]:
    """What a tool asks the client for, and the capability that this needs."""
    match name:
        case "ask_form":
            form = ElicitRequestFormParams(
                message=offer.FORM_MESSAGE, requested_schema=offer.FORM_SCHEMA
            )
            return "elicitation", ElicitRequest(params=form)
        case "ask_url":
            url = ElicitRequestURLParams(message=offer.URL_MESSAGE, url=offer.URL)
            return "elicitation", ElicitRequest(params=url)
        case "sample":
            content = TextContent(type="text", text=arguments["prompt"])
            message = SamplingMessage(role="user", content=content)
            params = CreateMessageRequestParams(messages=[message], max_tokens=50)
            return "sampling", CreateMessageRequest(params=params)
        case _:
            return "roots", ListRootsRequest()


def reading(response: Any) -> str:
    """What the client answered, as text."""
    match response:
        case ElicitResult(action=action, content=None):
            return action
        case ElicitResult(action=action, content=content):
            return f"{action} {offer.said(content)}"
        case CreateMessageResult(content=TextContent(text=text), model=model):
            return f"{model}: {text}"
        case ListRootsResult(roots=roots):
            return offer.said([{"uri": str(root.uri), "name": root.name} for root in roots])
    raise MCPError(INVALID_PARAMS, f"not an answer to the question: {response!r}")


class Play:
    """The handlers of one server process."""

    def __init__(self, folder: Path) -> None:
        self.board = offer.Board(folder)
        self.tasks = offer.Tasks()
        self.bus = InMemorySubscriptionBus()
        # Who listens in revisions with sessions, by URI.
        self.subscribed: dict[str, list[Any]] = {}

    async def list_tools(self, _: Context, __: Page) -> ListToolsResult:
        return ListToolsResult.model_validate({"tools": self.board.tools()}, by_name=False)

    async def list_prompts(self, _: Context, __: Page) -> ListPromptsResult:
        return ListPromptsResult.model_validate({"prompts": offer.PROMPTS}, by_name=False)

    async def list_resources(self, _: Context, __: Page) -> ListResourcesResult:
        return ListResourcesResult.model_validate({"resources": offer.RESOURCES}, by_name=False)

    async def list_templates(self, _: Context, __: Page) -> ListResourceTemplatesResult:
        listed = {"resourceTemplates": offer.TEMPLATES}
        return ListResourceTemplatesResult.model_validate(listed, by_name=False)

    async def read(self, _: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        return ReadResourceResult(contents=[TextResourceContents(uri=params.uri, text="a note")])

    async def subscribe(self, context: Context, params: SubscribeRequestParams) -> EmptyResult:
        self.subscribed.setdefault(str(params.uri), []).append(context.session)
        return EmptyResult()

    async def prompt(self, _: Context, params: GetPromptRequestParams) -> GetPromptResult:
        text = f"Greet in {(params.arguments or {}).get('language')}"
        content = TextContent(type="text", text=text)
        return GetPromptResult(messages=[PromptMessage(role="user", content=content)])

    async def complete(self, _: Context, params: CompleteRequestParams) -> CompleteResult:
        values = offer.completions(params.argument.value)
        return CompleteResult(completion=Completion(values=values, total=len(values)))

    async def call(self, context: Context, params: CallToolRequestParams) -> HandlerResult:
        arguments = params.arguments or {}
        match params.name:
            case "echo":
                return said(f"echo: {arguments['text']}")
            case "count":
                return await self.count(context, arguments["name"])
            case "release":
                self.board.write(arguments["name"], "released")
                return said("released")
            case "wait":
                return await self.wait(arguments["name"])
            case "fate":
                return said(self.board.read(arguments["name"]))
            case "ask_form" | "ask_url" | "sample" | "roots":
                return await self.ask(context, params)
            case "log":
                for level in ("debug", "info"):
                    await context.session.send_log_message(level, arguments["text"], offer.LOGGER)
                return said("logged")
            case "change":
                self.board.add_tool(arguments["name"])
                await self.bus.publish(ToolsListChanged())
                if context.protocol_version != REVISION:
                    await context.session.send_tool_list_changed()
                return said("changed")
            case "touch":
                await self.bus.publish(ResourceUpdated(uri=arguments["uri"]))
                for session in self.subscribed.get(arguments["uri"], ()):
                    await session.send_resource_updated(arguments["uri"])
                return said("touched")
            case "slow":
                return self.slow(context, arguments["text"])
        raise MCPError(INVALID_PARAMS, f"no such tool: {params.name}")

    async def count(self, context: Context, name: str) -> CallToolResult:
        for number, step in enumerate(offer.STEPS, 1):
            await context.session.report_progress(number, len(offer.STEPS), step)
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

    async def ask(self, context: Context, params: CallToolRequestParams) -> Answer:
        """Asks in the way of the client's revision: in place of a result, or in the middle."""
        capability, request = question(params.name, params.arguments or {})
        declared = context.session.client_capabilities
        if declared is None or getattr(declared, capability) is None:
            raise missing({capability: {}})
        if context.protocol_version != REVISION:
            kind = {"elicitation": ElicitResult, "sampling": CreateMessageResult}
            result = kind.get(capability, ListRootsResult)
            return said(reading(await context.session.send_request(request, result)))
        if not params.input_responses:
            return InputRequiredResult(
                input_requests={"question": request}, request_state=offer.STATE
            )
        if params.request_state != offer.STATE:
            raise MCPError(INVALID_PARAMS, f"not the state: {params.request_state!r}")
        return said(reading(params.input_responses["question"]))

    def slow(self, context: Context, text: str) -> dict[str, Any]:
        declared = context.session.client_capabilities
        if declared is None or offer.TASKS not in (declared.extensions or {}):
            raise missing({"extensions": {offer.TASKS: {}}})
        return self.tasks.start(text)

    async def get_task(self, _: Context, params: TaskParams) -> dict[str, Any]:
        found = self.tasks.get(params.task_id)
        if found is None:
            raise MCPError(INVALID_PARAMS, f"no such task: {params.task_id}")
        return found

    async def cancel_task(self, _: Context, params: TaskParams) -> dict[str, Any]:
        self.tasks.cancelled.add(params.task_id)
        return {"resultType": "complete"}


async def refuse_sessions(context: Context, call_next: Any) -> HandlerResult:
    """Makes the server one that knows only 2026-07-28."""
    if context.method == "initialize":
        requested = (context.params or {}).get("protocolVersion")
        known = {"supported": [REVISION], "requested": requested}
        raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, "this server has no sessions", known)
    if context.protocol_version != REVISION:
        raise MCPError(METHOD_NOT_FOUND, "this server has no sessions")
    return await call_next(context)


def serve(era: str, folder: Path) -> Server[Any]:
    play = Play(folder)
    server: Server[Any] = Server(
        f"offer-{era}",
        version="1",
        on_list_tools=play.list_tools,
        on_call_tool=play.call,  # type: ignore[arg-type]
        on_list_prompts=play.list_prompts,
        on_get_prompt=play.prompt,
        on_list_resources=play.list_resources,
        on_list_resource_templates=play.list_templates,
        on_read_resource=play.read,
        on_subscribe_resource=play.subscribe,
        on_completion=play.complete,
        on_subscriptions_listen=ListenHandler(play.bus),
    )
    server.extensions = {offer.TASKS: {}}
    server.add_request_handler("tasks/get", TaskParams, play.get_task)
    server.add_request_handler("tasks/cancel", TaskParams, play.cancel_task)
    if era == "modern":
        server.middleware.append(refuse_sessions)
    return server


async def over_stdio(server: Server[Any]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def main(transport: str, era: str, folder: str, port: str = "0") -> None:
    # Logging and sampling are on their way out, and are what is tested here.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    server = serve(era, Path(folder))
    if transport == "stdio":
        anyio.run(over_stdio, server)
    else:
        uvicorn.run(server.streamable_http_app(), port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
