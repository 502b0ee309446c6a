"""The command `flowodm-supervisor`."""
