"""What several benches need: events and their right answer, a measured process, a picture."""
