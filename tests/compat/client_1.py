"""Client: the Python SDK, `mcp` 1.x, which knows only sessions. Same contract as `client_2.py`.

The mode is the revision it asks for: 2025-11-25, or 2024-11-05, where it declares only what that
had. The transport is `http`, `sse`, `websocket` or `stdio`.
"""

import functools
import json
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import mcp.client.websocket
import websockets
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from pydantic import AnyUrl

import features
import offer
from features import Refused, Visitor

OLD = "2024-11-05"


class Visit(Visitor):
    """A connection of the SDK, with what it reports."""

    def __init__(self) -> None:
        super().__init__()
        self.session: ClientSession

    async def elicit(self, _: Any, params: Any) -> types.ElicitResult:
        self.asked.append(params.model_dump(mode="json", by_alias=True, exclude_none=True))
        if isinstance(params, types.ElicitRequestURLParams):
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content=offer.FORM_ANSWER)

    async def sample(self, _: Any, params: Any) -> types.CreateMessageResult:
        self.asked.append(params.model_dump(mode="json", by_alias=True, exclude_none=True))
        text = offer.sampled(params.messages[0].content.text)
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", content=content, model=offer.MODEL)

    async def list_roots(self, _: Any) -> types.ListRootsResult:
        root = types.Root(uri=offer.ROOT, name=offer.ROOT_NAME)  # type: ignore[arg-type]
        return types.ListRootsResult(roots=[root])

    async def logged(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append((params.level, params.data, params.logger))

    async def told(self, message: Any) -> None:
        if isinstance(message, types.ServerNotification):
            if isinstance(message.root, types.ToolListChangedNotification):
                self.list_changes += 1
            elif isinstance(message.root, types.ResourceUpdatedNotification):
                self.updates.append(str(message.root.params.uri))

    async def tools(self) -> list[str]:
        names: list[str] = []
        params = None
        while True:
            page = await refusing(self.session.list_tools(params=params))
            names += [tool.name for tool in page.tools]
            if page.nextCursor is None:
                return names
            params = types.PaginatedRequestParams(cursor=page.nextCursor)

    async def call(
        self, tool: str, arguments: dict[str, str], on_progress: Callable[..., Any] | None = None
    ) -> str:
        calling = self.session.call_tool(tool, arguments, progress_callback=on_progress)
        return words(await refusing(calling))

    async def abandon(
        self, tool: str, arguments: dict[str, str], ready: Callable[[], Awaitable[Any]]
    ) -> None:
        # The SDK leaves it to its user to tell the other side, and does not tell the id.
        id = self.session._request_id  # noqa: SLF001
        async with anyio.create_task_group() as group:
            group.start_soon(self.call_in_vain, tool, arguments)
            await features.until(lambda: self.session._request_id > id)  # noqa: SLF001
            await ready()
            params = types.CancelledNotificationParams(requestId=id, reason="no longer needed")
            cancelled = types.CancelledNotification(params=params)
            await self.session.send_notification(types.ClientNotification(cancelled))
            group.cancel_scope.cancel()

    async def call_in_vain(self, tool: str, arguments: dict[str, str]) -> None:
        answer = await self.session.call_tool(tool, arguments)
        raise AssertionError(f"a call that was to be cancelled was answered: {answer}")

    async def complete(self, value: str) -> list[str]:
        name = offer.PROMPTS[0]["name"]
        reference = types.PromptReference(type="ref/prompt", name=name)
        argument = {"name": offer.PROMPTS[0]["arguments"][0]["name"], "value": value}
        answer = await refusing(self.session.complete(reference, argument))
        return answer.completion.values

    async def hear(self, level: Any) -> None:
        await refusing(self.session.set_logging_level(level))

    @asynccontextmanager
    async def watch(self, uri: str) -> AsyncIterator[None]:
        await refusing(self.session.subscribe_resource(AnyUrl(uri)))
        yield
        await refusing(self.session.unsubscribe_resource(AnyUrl(uri)))

    async def task(self, tool: str, arguments: dict[str, str]) -> tuple[list[str], str]:
        tasks = self.session.experimental
        created = await refusing(tasks.call_tool_as_task(tool, arguments))
        states = [created.task.status]
        id = created.task.taskId
        async for task in tasks.poll_task(id):
            states.append(task.status)
        answer = await refusing(tasks.get_task_result(id, types.CallToolResult))
        return states, words(answer)


class OldVisit(Visit):
    """A client of 2024-11-05, which knew neither elicitation nor tasks."""

    async def task(self, tool: str, arguments: dict[str, str]) -> tuple[list[str], str]:
        return [], await self.call(tool, arguments)


async def refusing(asking: Awaitable[features.T]) -> features.T:
    try:
        return await asking
    except McpError as error:
        raise Refused(error.error.code, error.error.message) from None


def words(answer: types.CallToolResult) -> str:
    texts = [block.text for block in answer.content if isinstance(block, types.TextContent)]
    if answer.isError:
        raise Refused(0, " ".join(texts))
    return " ".join(texts)


async def streams(target: str, key: str, transport: str, stack: AsyncExitStack) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection: Any
    match transport:
        case "stdio":
            connection = stdio_client(StdioServerParameters(**json.loads(target)))
        case "sse":
            connection = sse_client(target, headers=headers)
        case "websocket":
            # The transport of the SDK has no argument for headers; its library has.
            connect = functools.partial(websockets.connect, additional_headers=headers)
            mcp.client.websocket.ws_connect = connect  # type: ignore[misc]
            connection = mcp.client.websocket.websocket_client(target)
        case "http":
            http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
            connection = streamable_http_client(target, http_client=http)
        case _:
            raise ValueError(f"no such transport: {transport}")
    return await stack.enter_async_context(connection)


@asynccontextmanager
async def visit(target: str, key: str, mode: str, transport: str) -> AsyncIterator[Visitor]:
    visitor = OldVisit() if mode == OLD else Visit()
    async with AsyncExitStack() as stack:
        read, write, *_ = await streams(target, key, transport, stack)
        session = ClientSession(
            read,
            write,
            sampling_callback=visitor.sample,
            elicitation_callback=None if mode == OLD else visitor.elicit,
            list_roots_callback=visitor.list_roots,
            logging_callback=visitor.logged,
            message_handler=visitor.told,
        )
        visitor.session = await stack.enter_async_context(session)
        started = await session.initialize()
        features.same(mode, started.protocolVersion, "the revision")
        yield visitor


def main(target: str, key: str, mode: str, transport: str, *wanted: str) -> None:
    # WebSocket and tasks are on their way out, and are what is tested here.
    warnings.simplefilter("ignore", DeprecationWarning)
    # The SDK always asks for the newest revision it knows.
    types.LATEST_PROTOCOL_VERSION = mode
    anyio.run(features.visit_all, lambda one: visit(one, key, mode, transport), target, wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
