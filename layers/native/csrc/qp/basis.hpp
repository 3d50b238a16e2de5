// Orthonormal bases of null spaces.
#pragma once
#include <vector>

namespace convex_layers {

// A vector that is zero but for the entries from `first` on, up to `last`.
struct Direction {
    std::vector<double> entries;
    int first, last;
};

double dot(const std::vector<double>& a, const std::vector<double>& b, int first, int last);

// Whether the vectors are independent; they become orthonormal. What is orthogonal but for rounding stays as it is, so that zeros do.
bool orthonormal(std::vector<Direction>& basis);

// (I − B Bᵀ) x, twice: once leaves rounding of the size of what it takes off.
void without(const std::vector<Direction>& basis, std::vector<double>& x);

}  // namespace convex_layers
