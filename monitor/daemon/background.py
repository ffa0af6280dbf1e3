"""Blocking work beside the loop, in threads that do not keep the process from leaving. An edge file."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` returns or raises. Unlike asyncio.to_thread, a daemon that leaves does not wait for it.

    A verification may take minutes; what it was for is still on record, and is done again at the next start.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def conclude(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon left, and nobody awaits any more
            loop.call_soon_threadsafe(conclude, result, failed)

    threading.Thread(target=work, name=getattr(call, "__name__", "work"), daemon=True).start()
    return await done
