"""The fused form of dense blocks; dense_block.py explains the algorithm."""
