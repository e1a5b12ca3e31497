"""What the kubelet asks the operator: whether it lives (/healthz) and whether it works (/readyz).

Kopf's own endpoint knows only life, begins after the ModelDeployments are served, and listens on one family
of addresses.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import web

from modelpress.sockets import EVERY_ADDRESS, bound

Problem = Callable[[], str | None]  # why not, in words; None: all is well
Facts = Callable[[], dict[str, Any]]  # what a good answer tells


@contextlib.asynccontextmanager
async def endpoints(port: int | None, pages: Mapping[str, tuple[Problem, Facts]]) -> AsyncIterator[None]:
    """Answer `pages`, by path, on `port` of every address until the block ends; without a port, not at all.

    Raises OSError where the port cannot be had.
    """
    if port is None:
        yield
        return
    application = web.Application()
    for path, (problem, facts) in pages.items():
        application.router.add_get(path, _page(problem, facts))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, bound(EVERY_ADDRESS, port)).start()
        yield
    finally:
        await runner.cleanup()


def _page(problem: Problem, facts: Facts) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        found = problem()
        if found is not None:
            return web.json_response({"error": found}, status=503)
        return web.json_response(facts())

    return answer
