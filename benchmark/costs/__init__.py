"""What a network costs: parameters, FLOPs, activations, latency, memory, energy."""
