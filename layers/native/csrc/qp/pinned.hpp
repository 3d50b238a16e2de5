// Weakly active rows that pin each other, as z ≤ 0 and −z ≤ 0: what they say together is an equality (layers/linalg/faces.py).
#pragma once
#include "qp/entries.hpp"

namespace convex_layers {

// Rows among `kind`, the first of C, that are WEAK become ACTIVE where they vanish on all directions that the active rows, the rows behind them
// (equalities) and the weak rows leave. False where that is in doubt, or would take long.
bool pin(const Entries& C, std::vector<signed char>& kind);

}  // namespace convex_layers
