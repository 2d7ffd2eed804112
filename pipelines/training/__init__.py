"""The parts of a training run: its processes, optimizers, averaged weights, guards, speed and logs."""
