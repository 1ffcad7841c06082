"""Who answers when no person does, and what to ask next."""
