"""Semantic IDs: codes of items by their content, and what is made of them."""
