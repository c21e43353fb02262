"""Layout ``json``: a row is a string that holds one JSON object."""
