// Which constraints bind at a solution, where the kernels cannot tell it beyond doubt: the rule of layers/qp/activity.py.
#pragma once
#include <algorithm>
#include <cmath>

#include "door/constants.hpp"
#include "qp/structure.hpp"

namespace convex_layers {

// A point with a larger residual in norm is polished again before anybody tells what is active; of one row: told_by_row. Beside rows that are
// nearly parallel, of a condition of 1e6, 1e-11 was 4e-6 of the solution.
constexpr double NEAR = 1e-12;
// Activity is told where no row misses more of its terms than this: rounding of a sum of n numbers, about 2ε√n, in a row whose terms count as 1e-7.
inline double told_by_row(int n) { return std::max(ROWS_SHARP, 2 * 2.2e-16 * std::sqrt((double)n) / 1e-7); }

// APART: parts that nothing connects are of so different sizes that they have to be solved by themselves first. DOUBT: a row has to be told at a
// point that is `refined`, or it is in doubt whether weak rows pin each other.
enum class Telling { TOLD, APART, DOUBT };

// Every row of the element `index`, which is solved, becomes ACTIVE, INACTIVE or WEAK, or all UNCLEAR if it is not TOLD. The plan is null
// where the matrices are taken as dense.
Telling tell_activity(const Data&, const Sparse*, const Answer&, long index, bool refined);

}  // namespace convex_layers
