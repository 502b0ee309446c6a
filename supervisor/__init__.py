"""A daemon that runs fleets of flowodm consumer loops."""
