"""The TOML file: its tables, values, defaults and problems, its JSON Schema and reference."""
