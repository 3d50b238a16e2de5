// A weak row i is pinned where Σ μⱼ wⱼ + Σ aⱼ cⱼ = 0 with μ ≥ 0, μᵢ > 0: w the weak rows, c those that are held. A variable that is in one of these rows
// alone, or in weak rows with one sign only, says that their unknowns are zero: most rows leave in this way. Of what stays, the held rows are
// taken off, and least squares of −Σ ŵⱼ by nonnegative multiples of the others leave a direction d with wⱼ d ≤ 0: rows with wⱼ d < 0 are not pinned.
// When no d is left the others are.
#include "qp/pinned.hpp"

#include "qp/nonnegative.hpp"

namespace convex_layers {

namespace {

constexpr double MOST_WORK = 2e6;  // multiplications
// Of a row that others span, rounding leaves less than the first, and of one that they do not, more than the second; what is between is in doubt.
constexpr double NOTHING = 1e-11, CLEARLY = 1e-7;

// The rows that may take part in a combination that vanishes.
std::vector<char> involved(const Entries& C, const std::vector<signed char>& kind) {
    const int m = (int)kind.size();
    std::vector<char> in(C.rows);
    for (int i = 0; i < C.rows; ++i) in[i] = i >= m || kind[i] != INACTIVE;
    const auto weak = [&](int i) { return i < m && kind[i] == WEAK; };
    for (bool more = true; more;) {
        more = false;
        // how many rows hold each variable, how many of them are held, and which signs the weak ones have
        std::vector<int> count(C.columns, 0), held(C.columns, 0), signs(C.columns, 0);
        C.each([&](int i, int j, double a) {
            if (in[i]) ++count[j], held[j] += !weak(i), signs[j] |= weak(i) ? (a > 0 ? 1 : 2) : 0;
        });
        C.each([&](int i, int j, double) {
            if (in[i] && (count[j] == 1 || (held[j] == 0 && signs[j] != 3))) in[i] = 0, more = true;
        });
    }
    return in;
}

double norm(const Vector& v) {
    double sum = 0;
    for (double x : v) sum += x * x;
    return std::sqrt(sum);
}

double dot(const Vector& a, const Vector& b) {
    double sum = 0;
    for (std::size_t j = 0; j < a.size(); ++j) sum += a[j] * b[j];
    return sum;
}

// v without what an orthonormal basis spans, scaled to one; 0 where nothing is left, −1 where that is in doubt.
int beyond(const std::vector<Vector>& basis, Vector& v) {
    const double size = norm(v);
    for (int pass = 0; pass < 2; ++pass)
        for (const Vector& w : basis) {
            const double common = dot(w, v);
            for (std::size_t j = 0; j < v.size(); ++j) v[j] -= common * w[j];
        }
    const double left = norm(v);
    if (left <= NOTHING * size) return 0;
    for (double& x : v) x /= left;
    return left >= CLEARLY * size ? 1 : -1;
}

// Which of these rows pin each other; false where that is in doubt.
bool vanishing(const std::vector<Vector>& rows, std::vector<int> open, std::vector<char>& pinned) {
    while (!open.empty()) {
        Vector target(rows[open[0]].size(), 0.0);
        std::vector<Vector> columns;
        for (int i : open) {
            columns.push_back(rows[i]);
            for (std::size_t j = 0; j < target.size(); ++j) target[j] -= rows[i][j];
        }
        Nonnegative least(columns, 0, target);
        least.solve(NOTHING);
        const double left = norm(least.rest);
        if (left <= NOTHING * (double)open.size()) {
            for (int i : open) pinned[i] = 1;
            return true;
        }
        if (left < CLEARLY) return false;
        std::vector<int> stay;
        for (int i : open) {
            const double along = dot(rows[i], least.rest) / left;
            if (along > -NOTHING) stay.push_back(i);
            else if (along > -CLEARLY) return false;
        }
        if (stay.size() == open.size()) return false;
        open = std::move(stay);
    }
    return true;
}

}  // namespace

bool pin(const Entries& C, std::vector<signed char>& kind) {
    if (std::count(kind.begin(), kind.end(), (signed char)WEAK) < 2) return true;
    const std::vector<char> in = involved(C, kind);
    std::vector<int> place(C.columns, -1), held, weak;
    int columns = 0;
    for (int i = 0; i < C.rows; ++i) {
        if (!in[i]) continue;
        (i < (int)kind.size() && kind[i] == WEAK ? weak : held).push_back(i);
        C.row(i, [&](int j, double) { place[j] = place[j] < 0 ? columns++ : place[j]; });
    }
    if (weak.size() < 2) return true;
    if ((double)columns * held.size() * (held.size() + weak.size()) > MOST_WORK || (double)columns * weak.size() * weak.size() > MOST_WORK) return false;
    const auto dense = [&](int i) {
        Vector v(columns, 0.0);
        C.row(i, [&](int j, double a) { v[place[j]] += a; });
        return v;
    };
    std::vector<Vector> basis, rows;
    for (int i : held) {
        Vector v = dense(i);
        const int told = beyond(basis, v);
        if (told < 0) return false;
        if (told) basis.push_back(std::move(v));
    }
    std::vector<int> seen;
    for (int i : weak) {
        Vector v = dense(i);
        const int told = beyond(basis, v);
        if (told < 0) return false;
        if (told) rows.push_back(std::move(v)), seen.push_back(i);
    }
    std::vector<int> open(rows.size());
    std::iota(open.begin(), open.end(), 0);
    std::vector<char> pinned(rows.size(), 0);
    if (open.size() > 1 && !vanishing(rows, open, pinned)) return false;
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (pinned[i]) kind[seen[i]] = ACTIVE;
    return true;
}

}  // namespace convex_layers
