"""Backups: the registry, the lake and the topics' configuration in one folder or bucket, and back."""
