"""Models as Avro: schemas, bytes, and reading what others wrote."""
