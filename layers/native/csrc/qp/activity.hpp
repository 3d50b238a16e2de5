// Which constraints bind at a solution, where the kernels cannot tell it beyond doubt: the rule of layers/qp/activity.py.
#pragma once
#include "qp/structure.hpp"

namespace convex_layers {

// Every row of the element `index`, which is solved, becomes ACTIVE, INACTIVE or WEAK. Several weak rows may pin each other: they become UNCLEAR,
// and so does a point that is not sharp. The plan is null where the matrices are taken as dense.
void tell_activity(const Data&, const Sparse*, const Answer&, long index);

}  // namespace convex_layers
