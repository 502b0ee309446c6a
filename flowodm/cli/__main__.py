"""Run `python -m flowodm.cli`."""

from flowodm.cli import main

main()
