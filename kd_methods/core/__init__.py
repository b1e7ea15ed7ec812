"""What method authors read: the interface, the registry, shared layers and geometry."""
