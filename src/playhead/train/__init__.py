"""How to step: settings, loop, optimiser, ranks, checkpoints, averages and logs; no task is known here."""
