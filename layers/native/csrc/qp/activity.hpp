// Which constraints bind at a solution, where the kernels cannot tell it beyond doubt: the rule of layers/qp/activity.py.
#pragma once
#include "qp/structure.hpp"

namespace convex_layers {

// Every row of the element `index`, which is solved, becomes ACTIVE, INACTIVE or WEAK, or UNCLEAR: at a point that is not sharp, and where it is
// in doubt whether weak rows pin each other. False where parts that nothing connects are of so different sizes that they have to be
// solved by themselves first. The plan is null where the matrices are taken as dense.
bool tell_activity(const Data&, const Sparse*, const Answer&, long index);

}  // namespace convex_layers
