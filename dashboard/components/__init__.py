"""Pieces that views share. Each shows chain text as text only, whatever it contains."""
