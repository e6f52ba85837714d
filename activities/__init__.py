"""The activities that workflows call, and the background worker."""
