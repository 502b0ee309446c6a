"""Changes a running fleet: plans reloads, restarts and scaling, and rolls them out."""
