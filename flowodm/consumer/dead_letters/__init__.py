"""The dead-letter topic: what a dead letter carries, how it is sent, read and replayed."""
