"""`flowodm-supervisor demo`: a broker, a producer and a fleet in one terminal."""
