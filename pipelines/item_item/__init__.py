"""item_item: the item-item model (EASE, successors, popularity, content) and the hybrid score that adds it to the towers."""
