"""What a run is to read, from what is online and what the source shows."""
