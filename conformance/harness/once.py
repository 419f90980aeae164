"""Runs an expensive probe of a server once per run."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from conformance.http.client import Server

Function = TypeVar("Function", bound=Callable[..., Any])


def once_per_run(function: Function) -> Function:
    """Call a function of a server once for each value of its other arguments, and cache the result.

    Checks on other threads wait for the result. Arguments are compared by their repr. An exception
    is not cached: the next check tries again.
    """

    @wraps(function)
    def cached(server: Server, *args: Any, **kwargs: Any) -> Any:
        target = server.target
        key = f"{function.__module__}.{function.__qualname__} {args} {sorted(kwargs.items())}"
        with target.lock:
            lock = target.locks.setdefault(key, threading.Lock())
        with lock:
            if key not in target.cache:
                target.cache[key] = function(server, *args, **kwargs)
        return target.cache[key]

    return cast(Function, cached)
