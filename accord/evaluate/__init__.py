"""Did it get better, for whom, at what price."""
