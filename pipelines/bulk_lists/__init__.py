"""Bulk lists: `triptych recommend` gives every user a list, batch by batch through an export."""
