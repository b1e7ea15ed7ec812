"""Reading KITTI's layout, augmenting frames, making batches; the built-in synthetic set."""
