"""What touches the Kafka consumer: the polling thread, fetching, commits, the group."""
