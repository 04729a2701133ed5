"""A proxy that serves a hub below /hub and takes this prefix from each path, as Caddy's `handle_path /hub/*` does.

HOST and PORT say where it listens, UPSTREAM is the port of the hub.
"""
import os

from aiohttp import ClientSession, ClientTimeout, web

PREFIX = "/hub"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade"}


async def forward(request):
    if not request.path.startswith(PREFIX + "/"):
        return web.Response(text="")  # Caddy answers 200 without a body where no route fits.
    url = f"http://127.0.0.1:{os.environ['UPSTREAM']}{request.path_qs.removeprefix(PREFIX)}"
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
    async with request.app["session"].request(
        request.method, url, headers=headers, data=await request.read(), allow_redirects=False
    ) as upstream:
        kept = [(name, value) for name, value in upstream.headers.items() if name.lower() not in HOP_BY_HOP]
        answer = web.StreamResponse(status=upstream.status)
        for name, value in kept:
            answer.headers.add(name, value)
        await answer.prepare(request)
        async for piece in upstream.content.iter_any():
            await answer.write(piece)
        await answer.write_eof()
        return answer


async def app():
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app["session"] = ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


web.run_app(app(), host=os.environ["HOST"], port=int(os.environ["PORT"]), print=None, handler_cancellation=True)
