"""The engine: find or create, wait, stop, once for everything that is paid for."""
