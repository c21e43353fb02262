"""The division of a source into parts, each of which has whole entities, so that several processes can read it."""
