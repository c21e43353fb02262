"""Everything of Feast's: its keys, its values, its types, its repository."""
