"""What is shown of the fleet: status, metrics, measurements and their history."""
