"""Client: the Python SDK, `mcp` 2.x. Arguments: TARGET KEY MODE TRANSPORT [FEATURE…].

The mode is `modern` (2026-07-28) or `legacy` (sessions), the transport `http`, `sse` or `stdio`.
The target is a URL, for stdio a JSON object with command and args, or a JSON list of those. Prints
a line for each target, a JSON object: for each feature whether it is proved (`ok`), what was found
(`detail`), and the `error` that it was answered with, if it was.
"""

import json
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.types import (
    CallToolResult,
    CreateMessageResult,
    ElicitRequestURLParams,
    ElicitResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    PromptReference,
    Request,
    RequestParams,
    ResourceUpdatedNotification,
    Result,
    Root,
    TextContent,
    ToolListChangedNotification,
)

import features
import offer
from features import Refused, Visitor

REVISION = "2026-07-28"
PATIENCE_S = 300


class Task(Result):
    """A state of the extension `io.modelcontextprotocol/tasks`."""

    task_id: str
    status: str
    poll_interval_ms: int = 100
    result: dict[str, Any] | None = None


class StartedTask(Task):
    result_type: Literal["task"]


class TaskParams(RequestParams):
    task_id: str


class GetTask(Request[TaskParams, Literal["tasks/get"]]):
    name_param = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams


class TaskExtension(ClientExtension):
    """The SDK has the place for the extension and leaves the extension to its users."""

    identifier = offer.TASKS

    def __init__(self) -> None:
        self.states: list[str] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=StartedTask, resolve=self.finish)]

    async def finish(self, started: StartedTask, context: ClaimContext) -> CallToolResult:
        self.states = [started.status]
        asked = GetTask(params=TaskParams(task_id=started.task_id))
        while True:
            task = await context.session.send_request(asked, Task)
            self.states.append(task.status)
            if task.status not in ("working", "input_required"):
                return CallToolResult.model_validate(task.result, by_name=False)
            await anyio.sleep(task.poll_interval_ms / 1000)


class Visit(Visitor):
    """A connection of the SDK, with what it reports."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = TaskExtension()
        self.client: Client

    async def elicit(self, _: Any, params: Any) -> ElicitResult:
        self.asked.append(params.model_dump(mode="json", by_alias=True, exclude_none=True))
        if isinstance(params, ElicitRequestURLParams):
            return ElicitResult(action="accept")
        return ElicitResult(action="accept", content=offer.FORM_ANSWER)

    async def sample(self, _: Any, params: Any) -> CreateMessageResult:
        self.asked.append(params.model_dump(mode="json", by_alias=True, exclude_none=True))
        text = offer.sampled(params.messages[0].content.text)
        content = TextContent(type="text", text=text)
        return CreateMessageResult(role="assistant", content=content, model=offer.MODEL)

    async def list_roots(self, _: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=offer.ROOT, name=offer.ROOT_NAME)])

    async def logged(self, params: LoggingMessageNotificationParams) -> None:
        self.logs.append((params.level, params.data, params.logger))

    async def told(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self.list_changes += 1
        elif isinstance(message, ResourceUpdatedNotification):
            self.updates.append(str(message.params.uri))

    async def tools(self) -> list[str]:
        names: list[str] = []
        cursor = None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return names

    async def call(
        self, tool: str, arguments: dict[str, str], on_progress: Callable[..., Any] | None = None
    ) -> str:
        try:
            answer = await self.client.call_tool(tool, arguments, progress_callback=on_progress)
        except MCPError as error:
            raise Refused(error.code, error.message) from None
        return words(answer)

    async def abandon(
        self, tool: str, arguments: dict[str, str], ready: Callable[[], Awaitable[Any]]
    ) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.call, tool, arguments)
            await ready()
            # The SDK tells the other side.
            group.cancel_scope.cancel()

    async def complete(self, value: str) -> list[str]:
        reference = PromptReference(type="ref/prompt", name=offer.PROMPTS[0]["name"])
        argument = {"name": offer.PROMPTS[0]["arguments"][0]["name"], "value": value}
        try:
            answer = await self.client.complete(reference, argument)
        except MCPError as error:
            raise Refused(error.code, error.message) from None
        return answer.completion.values

    async def hear(self, level: Any) -> None:
        if self.client.protocol_version != REVISION:
            try:
                await self.client.set_logging_level(level)
            except MCPError as error:
                raise Refused(error.code, error.message) from None

    @asynccontextmanager
    async def watch(self, uri: str) -> AsyncIterator[None]:
        try:
            if self.client.protocol_version == REVISION:
                listening = self.client.listen(
                    tools_list_changed=True, resource_subscriptions=[uri]
                )
                async with listening as subscription:
                    features.same(True, subscription.honored.tools_list_changed, "honoured")
                    features.same([uri], subscription.honored.resource_subscriptions, "honoured")
                    yield
            else:
                await self.client.subscribe_resource(uri)
                yield
                await self.client.unsubscribe_resource(uri)
        except MCPError as error:
            raise Refused(error.code, error.message) from None

    async def task(self, tool: str, arguments: dict[str, str]) -> tuple[list[str], str]:
        answer = await self.call(tool, arguments)
        return self.tasks.states, answer


def words(answer: CallToolResult) -> str:
    texts = [block.text for block in answer.content if isinstance(block, TextContent)]
    if answer.is_error:
        raise Refused(0, " ".join(texts))
    return " ".join(texts)


async def transport_to(target: str, key: str, transport: str, stack: AsyncExitStack) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    match transport:
        case "stdio":
            return stdio_client(StdioServerParameters(**json.loads(target)))
        case "sse":
            return sse_client(target, headers=headers)
        case "http":
            timeout = httpx2.Timeout(30, read=PATIENCE_S)
            http = httpx2.AsyncClient(headers=headers, timeout=timeout)
            client = await stack.enter_async_context(http)
            return streamable_http_client(target, http_client=client)
    raise ValueError(f"no such transport: {transport}")


@asynccontextmanager
async def visit(target: str, key: str, mode: str, transport: str) -> AsyncIterator[Visitor]:
    visitor = Visit()
    async with AsyncExitStack() as stack:
        client = Client(
            await transport_to(target, key, transport, stack),
            mode=REVISION if mode == "modern" else mode,
            sampling_callback=visitor.sample,
            elicitation_callback=visitor.elicit,
            list_roots_callback=visitor.list_roots,
            logging_callback=visitor.logged,
            message_handler=visitor.told,
            log_level="info",
            extensions=[visitor.tasks],
            cache=None,
        )
        visitor.client = await stack.enter_async_context(client)
        yield visitor


def main(target: str, key: str, mode: str, transport: str, *wanted: str) -> None:
    # Logging and sampling are on their way out, and are what is tested here.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    anyio.run(features.visit_all, lambda one: visit(one, key, mode, transport), target, wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
