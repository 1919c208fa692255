"""Batching of requests across clients."""
