"""Tools that know nothing of features: threads, instants, log lines, retries."""
