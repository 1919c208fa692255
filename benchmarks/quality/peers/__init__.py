"""peers: other people's models behind one small interface, so that one benchmark can tune and measure them all.

A peer is a function `fit(training, params, seed)` that returns `ask(params) -> Scorer`, so that a fit serves all ways of
asking it. It is found by its row in `table.py`, and runs in a process of its own (`worker.py`), in the interpreter that has its
library.
"""
