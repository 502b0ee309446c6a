"""Kafka in memory: takes the place of the connection's clients."""
