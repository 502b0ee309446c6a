"""Send messages and wait for what the broker says to each."""
