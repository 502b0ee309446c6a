"""The notify protocol of systemd."""
