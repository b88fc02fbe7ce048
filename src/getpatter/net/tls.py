"""One TLS context for every connection that we make: reading the trusted roots takes tens of milliseconds."""

from __future__ import annotations

import asyncio
import functools
import ssl

import certifi


@functools.cache
def client_context() -> ssl.SSLContext:
    """Verifies servers against the roots of this machine and those of `certifi`. Slow the first time."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


async def loaded_client_context() -> ssl.SSLContext:
    """`client_context`, without holding the loop the first time."""
    if client_context.cache_info().currsize:
        return client_context()
    return await asyncio.to_thread(client_context)
