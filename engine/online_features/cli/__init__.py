"""The command ``online-features``: look at what is online, and publish, roll back, verify and erase it.

Nothing else of the package imports it; the extra ``cli`` installs what it needs.
"""
