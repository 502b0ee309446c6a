"""What is shown of the fleet: status, metrics, samples and their history."""
