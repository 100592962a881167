"""The use cases: they ask the plan, call a backend and emit events."""
