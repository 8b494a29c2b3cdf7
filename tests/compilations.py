"""A jitted function that counts how often it is traced, which is how often it is compiled.

jit's own count may be of a cache that other tests of the process have filled.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax


class CountedJit:
    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.traces = 0

        @functools.wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            self.traces += 1
            return function(*arguments, **named)

        self._jitted = jax.jit(counted, **options)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._jitted(*arguments, **named)
