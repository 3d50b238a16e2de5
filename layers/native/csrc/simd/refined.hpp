// Points whose numbers are right to rounding, where working precision leaves a constraint in doubt.
#pragma once
#include "simd/schedule.hpp"

namespace convex_layers {

// Corrects the element `index`, which is solved, on its active set by residuals of twice the working precision: layers/qp/doubt.py. Whether the
// corrected point is sharp; where it is not the element stays as it is.
bool refine(const Kernels&, const Data&, const Sparse*, const Options&, const Answer&, long index);

}  // namespace convex_layers
