// The search for a structure, for the scheduler; not part of any instruction set.
#pragma once
#include <memory>

#include "qp/structure.hpp"

namespace convex_layers {

class Structure;
// The plan for the zeros that the problems of a batch share; null where they share too few.
std::shared_ptr<const Structure> analyse(const Data&);
const Sparse& sparse_of(const Structure&);

}  // namespace convex_layers
