"""Other recommenders behind one small interface, so that one benchmark can tune and measure all of them.

A peer is a function `fit(training, params, seed)` that returns a `ScorerFactory`: one fit serves several scoring options. It
is a row of `table.py` and runs in its own process (`worker.py`), in the interpreter that has its library.
"""
