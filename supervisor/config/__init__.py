"""The TOML file: its tables, values, defaults and mistakes, its JSON Schema and reference."""
