"""Python callables from an import path: async ones on the loop, the others in a thread.

`package.module:function` or `module:Class.method`. The module is looked for where Python looks, and then in the folder of the
configuration file. An async generator gives its result in instalments.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import operator
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from gateway.model.tools.request import Foreign, ToolError, ToolRequest
from gateway.toolspec import Behavior, ToolSpec

Function = Callable[..., Any]

MAX_THREADS = 32
"""Functions of this worker that block at the same time; the next is refused. A wedged one keeps its place for ever."""

MAX_VALUES = 64
"""Instalments that are collected for a model that waits; more is no answer."""

REQUEST: contextvars.ContextVar[ToolRequest] = contextvars.ContextVar("gateway_tool_request")
"""Which call asks, for a function that wants to know: `REQUEST.get()`, in its thread too."""


def find(path: str, folder: str = "") -> Function:
    """The callable at an import path. Raises ValueError that says what is wrong with the path or with the module."""
    module_name, colon, attribute = path.partition(":")
    if not (colon and all(part.isidentifier() for part in (*module_name.split("."), *attribute.split(".")))):
        raise ValueError(f"must be package.module:function, not {path!r}")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    with Foreign() as attempt:
        module = importlib.import_module(module_name)
    if attempt.failure is not None:
        raise ValueError(f"{module_name} can't be imported: {type(attempt.failure).__name__}: {attempt.failure}")
    try:
        function = operator.attrgetter(attribute)(module)
    except AttributeError:
        raise ValueError(f"{module_name} has no {attribute}") from None
    if not callable(function):
        raise ValueError(f"{path} is not callable")
    if inspect.isgeneratorfunction(function):
        raise ValueError(f"{path}: a generator must be async")
    return function  # type: ignore[no-any-return]


def mismatch(function: Function, parameters: Mapping[str, Any]) -> str | None:
    """Why the function could not be called with what the schema allows; None: it can."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # a builtin that does not tell
    declared, required = parameters.get("properties", {}), parameters.get("required", [])
    for names in (required, declared):
        try:
            signature.bind(**dict.fromkeys(names))
        except TypeError as error:
            return f"does not fit the parameters: {error}"
    return None


class PythonTools:
    """Runs the functions of this worker's tools."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        """By import path."""
        self._threads = Threads(MAX_THREADS)

    async def run(self, request: ToolRequest) -> object:
        """See Runner."""
        function = self._functions[request.tool.path]
        REQUEST.set(request)  # of this task only
        try:
            return await self._value(function, request)
        except SystemExit as exc:  # would end the worker
            raise ToolError("the tool gave up") from exc

    async def _value(self, function: Function, request: ToolRequest) -> object:
        if inspect.isasyncgenfunction(function):
            return await _instalments(function(**request.args), request)
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            return await function(**request.args)
        value = await self._threads.run(function, request.args)
        return await value if inspect.isawaitable(value) else value


async def _instalments(values: AsyncIterator[object], request: ToolRequest) -> object:
    collected: list[object] = []
    at_once = request.tool.behavior is Behavior.NON_BLOCKING
    async for value in values:
        if at_once:
            request.part(value)
        elif len(collected) < MAX_VALUES:
            collected.append(value)
        else:
            raise ToolError("the tool gave too many values")
    return None if at_once else collected


class Threads:
    """Daemon threads, one a function, at most `limit`: a pool's threads would keep the process from ending while one hangs."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.busy = 0

    async def run(self, function: Function, args: Mapping[str, Any]) -> object:
        """What the function returns; raises what it raises, or ToolError when no thread is free.

        Cancelling the wait leaves the thread to itself: nothing can stop it.
        """
        if self.busy >= self.limit:
            raise ToolError("too many functions are running; try again later")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[object] = loop.create_future()
        context = contextvars.copy_context()

        def deliver(value: object, failure: BaseException | None) -> None:
            self.busy -= 1
            if done.done():
                return  # nobody waits any more
            if isinstance(failure, StopIteration | SystemExit):  # a future can't carry the one, must not the other
                done.set_exception(ToolError("the tool gave up"))
            elif failure is not None:
                done.set_exception(failure)
            else:
                done.set_result(value)

        def work() -> None:
            value: object = None
            with Foreign() as attempt:
                value = context.run(function, **args)
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver, value, attempt.failure)

        self.busy += 1
        threading.Thread(target=work, name="tool", daemon=True).start()
        return await done


def functions(tools: list[ToolSpec]) -> dict[str, Function]:
    """The callables of the tools that name one, by path. Raises ValueError as `find` does."""
    return {tool.path: find(tool.path) for tool in tools if tool.path}
