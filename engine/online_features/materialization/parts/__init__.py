"""A full run in parts: tasks on different machines build one generation, each from a part of the source."""
