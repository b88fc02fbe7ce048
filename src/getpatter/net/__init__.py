"""Thin asyncio sockets and HTTP for vendors to stand on; knows nothing of calls."""
