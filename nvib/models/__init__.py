"""Models by name: the catalogue, the packages that carry them, the hub, and loading."""
