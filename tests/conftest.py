"""What all tests share: the table of ops (ops.py, beside this file) is importable from every one of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
