"""What Redis holds of feature views, for who does not have their definitions in Python."""
