#include "qp/basis.hpp"

#include <algorithm>
#include <cmath>

namespace convex_layers {

namespace {

constexpr double ROUNDING = 1e-15;    // products of vectors of norm one below this are none
constexpr double INDEPENDENT = 1e-6;  // what is left of a vector of norm one that the others of a basis do not span

}  // namespace

double dot(const std::vector<double>& a, const std::vector<double>& b, int first, int last) {
    double sums[4] = {0, 0, 0, 0};
    int i = first;
    for (; i + 4 <= last; i += 4)
        for (int l = 0; l < 4; ++l) sums[l] += a[i + l] * b[i + l];
    for (; i < last; ++i) sums[0] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void without(const std::vector<Direction>& basis, std::vector<double>& x) {
    for (int pass = 0; pass < 2; ++pass)
        for (const Direction& b : basis) {
            const double common = dot(b.entries, x, b.first, b.last);
            for (int i = b.first; i < b.last; ++i) x[i] -= common * b.entries[i];
        }
}

bool orthonormal(std::vector<Direction>& basis) {
    const auto norm = [](const Direction& v) { return std::sqrt(dot(v.entries, v.entries, v.first, v.last)); };
    for (std::size_t i = 0; i < basis.size(); ++i) {
        Direction& own = basis[i];
        for (int pass = 0; pass < 2; ++pass) {
            const double size = norm(own);
            if (!(size > 0)) return false;
            for (int l = own.first; l < own.last; ++l) own.entries[l] /= size;
            for (std::size_t j = 0; j < i; ++j) {
                const Direction& other = basis[j];
                const int first = std::max(own.first, other.first), last = std::min(own.last, other.last);
                const double common = dot(other.entries, own.entries, first, last);
                if (std::fabs(common) <= ROUNDING) continue;
                for (int l = other.first; l < other.last; ++l) own.entries[l] -= common * other.entries[l];
                own.first = std::min(own.first, other.first);
                own.last = std::max(own.last, other.last);
            }
            const double left = norm(own);
            if (!(left > INDEPENDENT)) return false;
            for (int l = own.first; l < own.last; ++l) own.entries[l] /= left;
        }
    }
    return true;
}

}  // namespace convex_layers
