// Householder's QR, rows of the matrix in the inner loops.
#include "qp/pivoted.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace convex_layers {

namespace {

// A pivot below ZERO times the order and rounding is zero, one above DOUBT times that is none.
constexpr double ZERO = 10, DOUBT = 1e3;
// A column with this part of the largest norm would do as well.
constexpr double ALIKE = 0.1;

}  // namespace

Pivoted::Pivoted(std::vector<double> matrix, int rows_, int columns_, double least, const std::vector<double>& costs)
    : rows(rows_), columns(columns_), order(columns_), a_(std::move(matrix)) {
    for (int j = 0; j < columns; ++j) order[j] = j;
    std::vector<double> norms(columns, 0.0);
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) norms[j] += row(i)[j] * row(i)[j];
    double first = 0;
    const int most = std::min(rows, columns), larger = std::max(rows, columns);
    for (int step = 0; step < most; ++step) {
        int best = (int)(std::max_element(norms.begin() + step, norms.end()) - norms.begin());
        const double size = std::sqrt(norms[best]);
        if (step == 0) first = std::max(size, least);
        const double bound = ZERO * larger * std::numeric_limits<double>::epsilon() * first;
        if (!(size > bound)) break;
        doubtful = doubtful || size <= DOUBT * bound;
        const double enough = ALIKE * ALIKE * norms[best];
        for (int j = step; j < columns && !costs.empty(); ++j)
            if (norms[j] >= enough && costs[order[j]] < costs[order[best]]) best = j;
        if (best != step) {
            std::swap(order[step], order[best]);
            std::swap(norms[step], norms[best]);
            for (int i = 0; i < rows; ++i) std::swap(row(i)[step], row(i)[best]);
        }
        reflect(step, norms);
        ++rank;
    }
}

// I − τ v vᵀ takes column `step` to its first entry; v₀ = 1 and the rest of v stays below the diagonal.
void Pivoted::reflect(int step, std::vector<double>& norms) {
    double below = 0;
    for (int i = step + 1; i < rows; ++i) below += row(i)[step] * row(i)[step];
    const double top = row(step)[step], size = std::sqrt(top * top + below);
    const double pivot = top > 0 ? -size : size;
    tau_.push_back(below > 0 ? (pivot - top) / pivot : 0.0);
    const double tau = tau_.back();
    if (below > 0) {
        for (int i = step + 1; i < rows; ++i) row(i)[step] /= top - pivot;
        row(step)[step] = pivot;
    }
    std::vector<double> w(row(step) + step + 1, row(step) + columns);
    const int width = columns - step - 1;
    double* const product = w.data();
    if (tau != 0) {
        for (int i = step + 1; i < rows; ++i) {
            const double v = row(i)[step], *from = row(i) + step + 1;
            if (v == 0) continue;
            for (int j = 0; j < width; ++j) product[j] += v * from[j];
        }
        double* to = row(step) + step + 1;
        for (int j = 0; j < width; ++j) to[j] -= tau * product[j];
        for (int i = step + 1; i < rows; ++i) {
            const double v = tau * row(i)[step];
            double* into = row(i) + step + 1;
            if (v == 0) continue;
            for (int j = 0; j < width; ++j) into[j] -= v * product[j];
        }
    }
    // what is left of each column, anew: differences of squares would leave rounding of the size of what has gone
    double* const left = norms.data() + step + 1;
    std::fill(left, left + width, 0.0);
    for (int i = step + 1; i < rows; ++i) {
        const double* from = row(i) + step + 1;
        for (int j = 0; j < width; ++j) left[j] += from[j] * from[j];
    }
}

void Pivoted::times_Q(double* b) const {
    for (int step = rank; step-- > 0;) {
        double sum = b[step];
        for (int i = step + 1; i < rows; ++i) sum += row(i)[step] * b[i];
        sum *= tau_[step];
        b[step] -= sum;
        for (int i = step + 1; i < rows; ++i) b[i] -= row(i)[step] * sum;
    }
}

void Pivoted::times_QT(double* b) const {
    for (int step = 0; step < rank; ++step) {
        double sum = b[step];
        for (int i = step + 1; i < rows; ++i) sum += row(i)[step] * b[i];
        sum *= tau_[step];
        b[step] -= sum;
        for (int i = step + 1; i < rows; ++i) b[i] -= row(i)[step] * sum;
    }
}

void Pivoted::back(double* x) const {
    for (int i = rank; i-- > 0;) {
        double sum = x[i];
        for (int j = i + 1; j < rank; ++j) sum -= row(i)[j] * x[j];
        x[i] = sum / row(i)[i];
    }
}

void Pivoted::solve(const double* b, double* x) const {
    std::vector<double> inner(b, b + rank);
    back(inner.data());
    std::fill(x, x + columns, 0.0);
    for (int i = 0; i < rank; ++i) x[order[i]] = inner[i];
}

void Pivoted::solve_transposed(const double* b, double* x) const {
    for (int i = 0; i < rank; ++i) x[i] = b[order[i]];
    for (int i = 0; i < rank; ++i) {
        x[i] /= row(i)[i];
        for (int j = i + 1; j < rank; ++j) x[j] -= row(i)[j] * x[i];
    }
}

void Pivoted::null_vector(int k, double* x) const {
    std::vector<double> inner(rank);
    for (int i = 0; i < rank; ++i) inner[i] = -row(i)[rank + k];
    back(inner.data());
    std::fill(x, x + columns, 0.0);
    for (int i = 0; i < rank; ++i) x[order[i]] = inner[i];
    x[order[rank + k]] = 1;
}

}  // namespace convex_layers
