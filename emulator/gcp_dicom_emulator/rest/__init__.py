"""What Google's front does for every API: the server, discovery, fields, batches, errors, faults, tokens."""
