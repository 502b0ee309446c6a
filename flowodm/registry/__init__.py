"""Ask the schema registry for schemas and ids, and translate its failures."""
