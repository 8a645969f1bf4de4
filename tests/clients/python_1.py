"""Client: the Python SDK, `mcp` 1.x, which knows only sessions. Same contract as `python_2.py`."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from mcp import ClientSession, McpError
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.types import PaginatedRequestParams, PromptReference, ResourceTemplateReference
from pydantic import AnyUrl, BaseModel

PAGE_LIMIT = 100


def plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def pages(fetch: Any, member: str) -> dict[str, Any]:
    """All pages of a list as one; an empty cursor is a cursor."""
    merged: list[Any] = []
    params = None
    for _ in range(PAGE_LIMIT):
        page = await fetch(params=params)
        answer = plain(page)
        merged += answer[member]
        if page.nextCursor is None:
            return {**answer, member: merged}
        params = PaginatedRequestParams(cursor=page.nextCursor)
    raise RuntimeError(f"{member} did not end within {PAGE_LIMIT} pages")


async def ask(session: ClientSession, method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "tools/list":
            return await pages(session.list_tools, "tools")
        case "tools/call":
            return plain(await session.call_tool(params["name"], params.get("arguments")))
        case "prompts/list":
            return await pages(session.list_prompts, "prompts")
        case "prompts/get":
            return plain(await session.get_prompt(params["name"], params.get("arguments")))
        case "resources/list":
            return await pages(session.list_resources, "resources")
        case "resources/templates/list":
            return await pages(session.list_resource_templates, "resourceTemplates")
        case "resources/read":
            return plain(await session.read_resource(AnyUrl(params["uri"])))
        case "completion/complete":
            kinds = {"ref/prompt": PromptReference, "ref/resource": ResourceTemplateReference}
            reference = kinds[params["ref"]["type"]].model_validate(params["ref"])
            return plain(await session.complete(reference, params["argument"]))
    raise ValueError(f"unknown method {method}")


async def answer(session: ClientSession, method: str, params: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": await ask(session, method, params)}
    except McpError as error:
        return {"error": {"code": error.error.code, "message": error.error.message}}


async def main(url: str, key: str) -> None:
    steps = json.load(sys.stdin)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
        streams = await stack.enter_async_context(streamable_http_client(url, http_client=http))
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
        await session.initialize()
        answers = [await answer(session, method, params) for method, params in steps]
        print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
