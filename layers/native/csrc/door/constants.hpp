// What both sides of the door call by one name: exported to Python (constants.cpp), which compares every value with its own
// (layers/native/constants.py) and takes no core that disagrees.
#pragma once

namespace convex_layers {

// Verdicts of layers/solution.py, and two beside them: the element is left to the torch engine, or its data must be checked there.
enum Verdict : long long { OPTIMAL = 0, INFEASIBLE = 2, UNBOUNDED = 3, LEFT = -1, SUSPECT = -2 };

// What a constraint is at a solution; one that is UNCLEAR leaves its element to the torch rule.
enum Activity : signed char { UNCLEAR = -1, INACTIVE = 0, ACTIVE = 1, WEAK = 2 };

// The torch rule (layers/qp/adjoints/implicit.py) calls a constraint weakly active when s and λ are both below the first, or when neither is
// less than the second times the other. Beyond doubt is five decades above that zero, and two below that ratio.
constexpr double WEAK_TOLERANCE = 1e-9, WEAK_RATIO = 1e-2;
constexpr double CLEAR = 1e5 * WEAK_TOLERANCE, STRICTLY = 1e-2 * WEAK_RATIO;

// At a tolerance above LOOSE a status is judged by the residuals in norm alone; at others a row by itself may miss ROWS in its
// equation, and ROWS_GAP in its complementarity; a point is sharp where no row misses ROWS_SHARP (layers/solution.py).
constexpr double LOOSE = 1e-7, ROWS = 1e-6, ROWS_GAP = 1e-4, ROWS_SHARP = 1e-9;

// In a derivative Q has been checked; negative curvature up to this, relative to the largest entry, is rounding (layers/linalg/semidefinite.py).
constexpr double CURVATURE = 1e-9;

// A backward error of the linear system of a derivative that answers: layers/qp/adjoints/implicit.py.
constexpr double ANSWERED = 1e-9;

// The data of a program that depend on its parameters, in the order in which Python gives them.
enum Part { PART_Q, PART_Q_LINEAR, PART_G, PART_H, PART_A, PART_B, PART_M, PART_F, PART_D, PARTS };
constexpr const char* PART_NAMES[] = {"Q", "q", "G", "h", "A", "b", "M", "f", "D"};
static_assert(sizeof(PART_NAMES) / sizeof(PART_NAMES[0]) == PARTS, "every part has a name");

}  // namespace convex_layers
