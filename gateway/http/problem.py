"""Errors as `application/problem+json` (RFC 9457): the exception's type says which status, never a traceback."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.errors import LegError, ModelError, Refused, SignalingError, Unauthorized
from gateway.wire.whip import PROBLEM_TYPE, Problem

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> web.Response:
    """The response for one problem. Never cached: the next try may do."""
    return web.Response(
        status=problem.status,
        body=json.dumps(problem.as_json()).encode(),
        headers={"Content-Type": PROBLEM_TYPE, "Cache-Control": "no-store", **(headers or {})},
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what a handler raises on purpose into a problem. A bug passes through: aiohttp logs it and answers 500."""
    try:
        return await handler(request)
    except SignalingError as error:
        # RFC 9110 §11.6.1: a 401 says how to authenticate.
        headers = {"WWW-Authenticate": 'Bearer realm="gateway"'} if isinstance(error, Unauthorized) else {}
        return problem_response(Problem(error.status, error.code, error.detail), headers)
    except Refused as error:
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
        return problem_response(Problem(503, error.reason, error.detail), headers)
    except LegError as error:
        log.warning("x leg not made: %s", error)
        return problem_response(Problem(500, "leg_failed", "the call could not be set up"))
    except ModelError as error:
        return problem_response(Problem(502, "model_failed", str(error)))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        headers = {name: value for name, value in error.headers.items() if name == "Allow"}
        return problem_response(Problem(error.status, code, _DETAILS.get(error.status, error.reason)), headers)


_DETAILS = {
    404: "nothing is here",
    405: "this resource does not take that method; see Allow",
    408: "the body took too long",
}
