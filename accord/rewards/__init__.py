"""What is it worth."""
