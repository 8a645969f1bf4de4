"""Client: the Python SDK, `mcp` 2.x, with its own OAuth provider and a person who has a browser.

Argument: the URL of an endpoint. Prints {"open": URL} whenever the person is to go there, and
{"result": …} or {"error": …} for each line [method, params] on stdin. The method `expire` makes
its access token look old, so that the next request begins with a new one.
"""

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nYou may go back."


class Storage:
    """What the provider remembers, as long as this process lives."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Landing:
    """Where the browser comes back to."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def listen(self) -> str:
        server = await asyncio.start_server(self.take, "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split()[1].decode())
        if target.path == "/callback":
            await self.came.put({name: values[0] for name, values in parse_qs(target.query).items()})
        writer.write(PAGE)
        await writer.drain()
        writer.close()

    async def code(self) -> AuthorizationCodeResult:
        said = await self.came.get()
        if "error" in said:
            raise PermissionError(said["error"])
        return AuthorizationCodeResult(**said)


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def send_person(url: str) -> None:
    say({"open": url})


async def answer(client: Client, method: str, params: dict[str, Any]) -> Any:
    match method:
        case "tools/list":
            return [tool.name for tool in (await client.list_tools()).tools]
        case "tools/call":
            called = await client.call_tool(params["name"], params.get("arguments"))
            return called.model_dump(mode="json", by_alias=True, exclude_none=True)
    raise ValueError(f"unknown method {method}")


def first(error: BaseException) -> BaseException:
    """The error at the bottom of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def main(target: str) -> None:
    landing = Landing()
    redirect = await landing.listen()
    metadata = OAuthClientMetadata(client_name="Python", redirect_uris=[AnyUrl(redirect)])
    provider = OAuthClientProvider(
        target, metadata, Storage(), redirect_handler=send_person, callback_handler=landing.code
    )
    http = httpx2.AsyncClient(auth=provider, timeout=60)
    async with http, Client(streamable_http_client(target, http_client=http), cache=None) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            method, params = json.loads(line)
            if method == "expire":
                provider.context.token_expiry_time = 1
                say({"result": None})
                continue
            say({"result": await answer(client, method, params)})


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except Exception as error:  # whatever it was, the other side is told
        say({"error": repr(first(error))})
