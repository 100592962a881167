"""Pure data: configuration, events, state, plans, receipts. Imports nothing of devenv but its errors."""
