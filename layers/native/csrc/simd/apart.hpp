// Problems with parts that nothing connects, of which one is lost in the rounding of another, or too hard for the steps that the others share.
#pragma once
#include "simd/schedule.hpp"

namespace convex_layers {

// Solves each part of the element `index` by itself, as a problem of its own size and scales, and measures the whole there: OPTIMAL with the
// activity of its rows, or LEFT where a part is not solved or there is but one. Whether it was solved.
bool solve_parts(const Kernels&, const Data&, const Sparse*, const Options&, const Answer&, long index);

}  // namespace convex_layers
