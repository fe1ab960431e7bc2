"""What the emulator keeps: its directory, and snapshots of it."""
