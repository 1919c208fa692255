"""client: typed clients for threads (`Client`) and for asyncio (`AsyncClient`); no TensorFlow."""

from serving.client.aio import AsyncClient
from serving.client.client import Client

__all__ = ["AsyncClient", "Client"]
