"""Layout ``feast``: the keys, values and types of Feast, and views loaded from a Feast repository."""
