"""What Redis holds of a feature view beside its rows."""
