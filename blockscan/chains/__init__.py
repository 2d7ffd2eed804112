"""The only place that knows a wire format: fetching is impure, parsing is pure."""
