"""Where a policy acts, one wing per kind."""
