"""Where the stack runs: one protocol, one implementation per place."""
