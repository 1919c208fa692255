"""`python -m benchmarks.input`."""

from benchmarks.input.input import main

main()
