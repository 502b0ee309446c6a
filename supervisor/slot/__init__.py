"""The state machine of a slot and the decisions it makes: no clock, no process, no file. Pure."""
