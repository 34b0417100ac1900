"""`python -m ltxtui`: the same as the command `ltxtui`."""

from ltxtui.cli import main

main()
