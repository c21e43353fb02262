"""What a run says: progress, warnings, its record and its result."""
