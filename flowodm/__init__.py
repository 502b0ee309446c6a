"""Typed Kafka messages and consumer loops."""
