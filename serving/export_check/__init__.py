"""Checks of an export before it is served: allowed ops, and outputs in a process without Triptych."""
