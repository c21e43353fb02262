"""Several processes that copy the parts of a source at once, as of one snapshot."""
