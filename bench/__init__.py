"""How fast, beside a limit that is measured in the same run."""
