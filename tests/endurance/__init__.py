"""Programs that run for as long as one likes: ``make soak`` and ``make fuzz``."""
