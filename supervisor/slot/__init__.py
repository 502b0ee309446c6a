"""One worker's place in the fleet: states, events, actions, the restart policy. Pure."""
