"""The runner behind `examples/reproduce/run.sh`: how far a supernet's weights are from training from scratch."""
