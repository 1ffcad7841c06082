"""Other people's formats and places."""
