"""Tools that know nothing of features: arguments, threads, instants, logs, retries."""
