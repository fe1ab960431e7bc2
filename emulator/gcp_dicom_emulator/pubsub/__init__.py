"""The emulated Pub/Sub: topics, subscriptions, and messages on their way."""
