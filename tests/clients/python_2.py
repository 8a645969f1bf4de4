"""Client: the Python SDK, `mcp` 2.x, in the modes `auto`, `legacy` and `2026-07-28`.

With `+roots` after its mode the client has roots, none at present.

Arguments: TARGET KEY MODE. The target is a URL, or a JSON object (command, args, env, cwd) for a
server on stdio. Reads a JSON list of [method, params] from stdin, asks them in order over one
connection, and prints a JSON list with one {"result": …} or {"error": …} for each.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ListRootsResult, PromptReference, ResourceTemplateReference
from pydantic import BaseModel

PAGE_LIMIT = 100


def plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def pages(fetch: Any, member: str) -> dict[str, Any]:
    """All pages of a list as one; an empty cursor is a cursor."""
    merged: list[Any] = []
    cursor = None
    for _ in range(PAGE_LIMIT):
        page = await fetch(cursor=cursor)
        answer = plain(page)
        merged += answer[member]
        cursor = page.next_cursor
        if cursor is None:
            return {**answer, member: merged}
    raise RuntimeError(f"{member} did not end within {PAGE_LIMIT} pages")


async def ask(client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "tools/list":
            return await pages(client.list_tools, "tools")
        case "tools/call":
            return plain(await client.call_tool(params["name"], params.get("arguments")))
        case "prompts/list":
            return await pages(client.list_prompts, "prompts")
        case "prompts/get":
            return plain(await client.get_prompt(params["name"], params.get("arguments")))
        case "resources/list":
            return await pages(client.list_resources, "resources")
        case "resources/templates/list":
            return await pages(client.list_resource_templates, "resourceTemplates")
        case "resources/read":
            return plain(await client.read_resource(params["uri"]))
        case "completion/complete":
            kinds = {"ref/prompt": PromptReference, "ref/resource": ResourceTemplateReference}
            reference = kinds[params["ref"]["type"]].model_validate(params["ref"])
            return plain(await client.complete(reference, params["argument"]))
    raise ValueError(f"unknown method {method}")


async def answer(client: Client, method: str, params: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": await ask(client, method, params)}
    except MCPError as error:
        return {"error": {"code": error.error.code, "message": error.error.message}}


async def no_roots(_: Any) -> ListRootsResult:
    return ListRootsResult(roots=[])


async def main(target: str, key: str, mode: str) -> None:
    steps = json.load(sys.stdin)
    mode, _, offer = mode.partition("+")
    roots = no_roots if offer == "roots" else None
    async with AsyncExitStack() as stack:
        server: Any
        if target.startswith("{"):
            server = StdioServerParameters(**json.loads(target))
        else:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60))
            server = streamable_http_client(target, http_client=http)
        client = Client(server, mode=mode, cache=None, list_roots_callback=roots)
        await stack.enter_async_context(client)
        answers = [await answer(client, method, params) for method, params in steps]
        print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
