"""The command `flowodm-supervisor`, with stand-ins where it would start real workers."""

from __future__ import annotations

from functools import partial

import standins

from supervisor import daemon
from supervisor.__main__ import main

if __name__ == "__main__":
    daemon.Supervisor = partial(daemon.Supervisor, entry=standins.ENTRY)
    main()
