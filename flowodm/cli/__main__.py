"""Where `python -m flowodm.cli` begins."""

from flowodm.cli import main

main()
