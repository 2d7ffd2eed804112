"""The encoder that learns what normal transactions look like, and its reconstruction losses."""
