"""`python -m streamseg` is the command `streamseg`."""

from streamseg.cli import main

main()
