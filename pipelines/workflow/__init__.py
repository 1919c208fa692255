"""workflow: commands of several steps, `triptych run` and `triptych demo`."""
