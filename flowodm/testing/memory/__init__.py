"""Kafka in memory, in place of the connection's clients."""
