"""``python -m online_features``: the command ``online-features``."""

from online_features.cli.entry import main

main()
