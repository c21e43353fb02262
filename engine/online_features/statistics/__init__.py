"""Statistics of the rows of a feature view: measured from Arrow batches, kept as one value in Redis."""
