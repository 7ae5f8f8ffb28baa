"""Training and packing: the PyTorch side. Nothing outside this folder needs PyTorch."""

import os

# PyTorch's OpenMP threads spin while they wait; beside another busy process that costs most of
# the speed (46 images/s, not 540, on two cores with two other jobs). Set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
