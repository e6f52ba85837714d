"""Effects: what the workflows' ports do for real."""
