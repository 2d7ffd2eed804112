"""The verbs: each module is one step of the road and one command of the CLI."""
