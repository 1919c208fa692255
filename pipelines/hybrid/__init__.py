"""The towers' scores and the item-item model's added, the weights fitted, and the items that both rank."""
