"""Probes: what the documentation leaves open, as small programs that ask an endpoint, be it the emulator or the service itself."""
