"""What ordinary inhabitants do: one session function per habit, grouped by trade."""
