"""The command `flowodm`."""
