"""Derive Avro schemas from models, and write and read Avro records."""
