"""MLflow: the one-way sync of its registry into ours, by polls and by webhooks."""
