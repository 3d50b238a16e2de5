// Proofs that a program has no solution: layers/qp/interior_point/certificates.py.
#pragma once
#include "door/api.hpp"

namespace convex_layers {

// The element `index`, which nothing has solved, becomes INFEASIBLE or UNBOUNDED where that is proved; its certificate stands in the answer.
void prove(const Data&, const Answer&, long index);

}  // namespace convex_layers
