"""Other people's logs, judged by this project's statistics."""
