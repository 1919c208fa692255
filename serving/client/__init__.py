"""Typed clients without TensorFlow: `Client` for threads, `AsyncClient` for asyncio."""

from serving.client.aio import AsyncClient
from serving.client.client import Client

__all__ = ["AsyncClient", "Client"]
