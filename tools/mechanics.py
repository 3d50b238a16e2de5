"""Write docs/pytorch.md from the matrix of tests/layers/mechanics: ``python tools/mechanics.py``."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests.layers.mechanics.table import page

    (ROOT / "docs" / "pytorch.md").write_text(page(), "utf-8")
