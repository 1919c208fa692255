"""webapp: what `triptych app` starts, and the item table that it shows."""
