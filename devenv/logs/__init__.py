"""Log lines of all services: their sources, merged and followed."""
