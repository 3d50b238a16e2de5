// Which constraints bind at a solution, where the kernels cannot tell it beyond doubt: the rule of layers/qp/activity.py.
#pragma once
#include "qp/structure.hpp"

namespace convex_layers {

// APART: parts that nothing connects are of so different sizes that they have to be solved by themselves first. DOUBT: a row has to be told at a
// point that is `refined`, or it is in doubt whether weak rows pin each other.
enum class Telling { TOLD, APART, DOUBT };

// Every row of the element `index`, which is solved, becomes ACTIVE, INACTIVE or WEAK, or all UNCLEAR if it is not TOLD. The plan is null
// where the matrices are taken as dense.
Telling tell_activity(const Data&, const Sparse*, const Answer&, long index, bool refined);

}  // namespace convex_layers
