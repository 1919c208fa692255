"""item_item: the item-item model (EASE, successors, popularity, content), as arrays."""
