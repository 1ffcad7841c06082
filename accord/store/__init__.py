"""Where records live: schema, verbs, claims, exchange."""
