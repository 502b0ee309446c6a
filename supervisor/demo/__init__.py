"""What `flowodm-supervisor demo` shows: a broker, a producer and a fleet in one terminal."""
