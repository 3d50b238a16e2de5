// Which constraints bind at a solution, where the kernels cannot tell it beyond doubt: the rule of layers/qp/activity.py.
#pragma once
#include "door/api.hpp"

namespace convex_layers {

// Every row of the element `index`, which is solved, becomes ACTIVE, INACTIVE or WEAK.
void tell_activity(const Data&, const Answer&, long index);

}  // namespace convex_layers
