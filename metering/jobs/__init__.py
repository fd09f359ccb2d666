"""What runs by itself, beside the service."""
