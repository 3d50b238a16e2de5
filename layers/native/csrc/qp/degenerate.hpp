// The linear system of the derivative where K is singular or rectangular: dependent active rows, several minimisers, weakly active rows.
#pragma once
#include "qp/structure.hpp"

namespace convex_layers {

// x = K⁺ r, or K⁺ᵀ r where the call is transposed, for the element `index`; its error stays infinite where a rank is in doubt or the work too
// much for dense matrices, and x is not touched then. The plan is null where the matrices are taken as dense.
void solve_degenerate(const Data&, const Sparse*, const Linearised&, long index);

}  // namespace convex_layers
