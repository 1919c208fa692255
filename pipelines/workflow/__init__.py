"""Commands of several steps, `triptych run` and `triptych demo`."""
