"""`python -m runway_streams.cli` is `runway`."""

from runway_streams.cli import main

main()
