"""What can be done with a hold, whoever asks: the API, the command line, the audit or a webhook."""
