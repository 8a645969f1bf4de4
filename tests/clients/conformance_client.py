"""Client scenarios of the conformance suite: the suite plays a server, this is who asks it.

Argument: the URL of the suite's server. With GATEWAY_URL that server is registered at the gateway,
as SERVER_NAME, and asked through it, so that the gateway is the client the suite sees; without, it
is asked directly. ERA is the mode of the SDK client; scenario and context come from the suite.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

TIMEOUT = 10
# What a client must not call. The suite lists them beside one that is valid.
INVALID = (
    "invalid_empty_header invalid_object_header invalid_array_header invalid_null_header "
    "invalid_number_header invalid_duplicate_same_case invalid_duplicate_diff_case "
    "invalid_space_in_name invalid_colon_in_name invalid_non_ascii_name invalid_control_char_name"
).split()


@asynccontextmanager
async def registered(gateway: str, key: str, url: str) -> AsyncIterator[str]:
    """The address at the gateway of the server at the URL."""
    name = os.environ["SERVER_NAME"]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=gateway, headers=headers, timeout=TIMEOUT) as office:
        form = {"name": name, "url": url}
        made = await office.post("/gateway/servers", params={"wait": "true"}, json=form)
        made.raise_for_status()
        print(f"registered: {made.text}")
        try:
            yield f"{gateway}/servers/{name}/mcp"
        finally:
            # The suite closes its server only when nobody is connected to it any more.
            (await office.delete(f"/gateway/servers/{name}")).raise_for_status()


async def accept(_: Any, params: Any) -> ElicitResult:
    """Accepts, and gives the default of every field; a field without one is confirmed."""
    fields = params.requested_schema.get("properties", {})
    content = {name: field.get("default", True) for name, field in fields.items()}
    return ElicitResult(action="accept", content=content)


async def call(client: Client, name: str, **arguments: Any) -> None:
    answer = await client.call_tool(name, arguments)
    print(f"{name}: {answer.model_dump_json(exclude_none=True)}")
    assert not answer.is_error, f"{name}: {answer}"


async def read_everything(client: Client) -> None:
    """Every kind of request that carries a name in its headers."""
    for tool in (await client.list_tools()).tools:
        await call(client, tool.name)
    for resource in (await client.list_resources()).resources:
        await client.read_resource(resource.uri)
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name)


async def call_as_told(client: Client, context: dict[str, Any]) -> None:
    await client.list_tools()
    for told in context["toolCalls"]:
        await call(client, told["name"], **told["arguments"])


async def call_valid_and_invalid(client: Client) -> None:
    """What is not listed is called too, by name: it must go no further than the gateway."""
    listed = [tool.name for tool in (await client.list_tools()).tools]
    assert listed == ["valid_tool"], f"invalid tools are listed: {listed}"
    await call(client, "valid_tool", region="eu")
    if os.environ.get("GATEWAY_URL"):
        for name in INVALID:
            try:
                await client.call_tool(name, {"value": "x"})
            except MCPError as refused:
                print(f"{name}: {refused}")
            else:
                raise AssertionError(f"{name} was called")


async def echo_schema(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    schema = tools["json_schema_2020_12_tool"].input_schema
    await call(client, "json_schema_echo", schema=schema)


async def play(client: Client, scenario: str, context: dict[str, Any]) -> None:
    """What the scenario wants to see its client do."""
    match scenario:
        case "initialize" | "request-metadata":
            # These servers offer nothing; that the list is refused or empty is right.
            try:
                print(await client.list_tools())
            except MCPError as refused:
                print(f"tools/list: {refused}")
        case "tools_call":
            await client.list_tools()
            await call(client, "add_numbers", a=5, b=3)
        case "http-standard-headers":
            await read_everything(client)
        case "http-custom-headers":
            await call_as_told(client, context)
        case "http-invalid-tool-headers":
            await call_valid_and_invalid(client)
        case "json-schema-2020-12-preservation":
            await echo_schema(client)
        case "json-schema-ref-no-deref":
            assert [tool.name for tool in (await client.list_tools()).tools] == ["lookup_user"]
        case _:
            # Elicitation, reconnection, requests for input: every tool once, in the order listed.
            for tool in (await client.list_tools()).tools:
                await call(client, tool.name)


async def ask(url: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT) as http:
        server = streamable_http_client(url, http_client=http)
        options: Any = {"mode": os.environ["ERA"], "cache": None, "elicitation_callback": accept}
        async with Client(server, **options) as client:
            await play(client, scenario, context)


async def main(url: str) -> None:
    gateway, key = (os.environ.get(name, "") for name in ("GATEWAY_URL", "GATEWAY_KEY"))
    if not gateway:
        await ask(url, "")
        return
    async with registered(gateway, key, url) as address:
        await ask(address, key)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
