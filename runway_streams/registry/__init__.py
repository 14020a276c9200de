"""The registry: models, their versions, stages and policies."""
