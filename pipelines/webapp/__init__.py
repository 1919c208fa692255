"""Assembly of `triptych app` and the item table that it shows."""
