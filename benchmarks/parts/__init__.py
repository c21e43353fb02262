"""Parts of the benchmark: each measures one thing."""
