"""workflow: several steps in a row: `triptych run` and `triptych demo`."""
