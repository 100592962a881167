"""The terminal interface: it reads state and sends intents to the desk; it starts no process itself."""
