"""`python -m benchmarks.quality`."""

from benchmarks.quality.quality import main

main()
