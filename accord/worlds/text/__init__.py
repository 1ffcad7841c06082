"""The world of text: encode, pack, evaluate, generate."""
