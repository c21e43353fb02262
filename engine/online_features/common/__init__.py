"""Tools that do not depend on features: threads, instants, log lines, retries."""
