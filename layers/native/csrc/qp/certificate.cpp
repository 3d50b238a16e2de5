// Both certificates are what least squares with nonnegative unknowns end at, on the equilibrated problem:
//
//     infeasible    λ ≥ 0, ν:  Gᵀλ + Aᵀν = 0, hᵀλ + bᵀν = −1, reached exactly
//     unbounded     d = −(q + Qw + Gᵀλ + Aᵀν), λ ≥ 0, as short as can be: Qd = 0, Ad = 0, Gd ≤ 0, qᵀd = −‖d‖²
//
// What is found is corrected with residuals of twice the working precision until its equations hold far beyond rounding, so that a contradiction
// by 10⁻¹¹ of the terms is proved as one by a half is, and no feasible point far out is overlooked. Curvature alone may be rounding.
#include "qp/certificate.hpp"

#include "qp/nonnegative.hpp"
#include "qp/twice.hpp"

namespace convex_layers {

namespace {

constexpr double MOST_WORK = 1e8;      // multiplications
constexpr double REACHED = 1e-7;       // what is left of a target that may have been reached
constexpr double EXACT = 1e-22;        // equations that hold, relative to their terms
constexpr double FAR = 1e16;           // a point this far out would be needed to make up for what is left of them
constexpr double ROUNDING = 1e-12;     // depths and curvatures that are rounding, relative to their terms
constexpr double CURVED = 1e-9;        // and curvatures relative to the descent
constexpr double NOTHING = 1e-24;      // an entry of a certificate beside the largest
constexpr int CORRECTIONS = 6;

using Twices = std::vector<Twice>;

// One problem in units in which its entries are about one; all scales are powers of two.
struct Scaled {
    Entries Q, C;  // C = [G; A]
    Vector q, side, D, E;
    int n, m;
    double r;  // size of the right-hand sides

    Scaled(const Data& d, long index)
        : Q(Entries::symmetric(d.Q + index * d.Q_stride, d.n, nullptr)), C(d.n),
          q(d.q + index * d.q_stride, d.q + index * d.q_stride + d.n), side(d.h + index * d.h_stride, d.h + index * d.h_stride + d.m), n(d.n), m(d.m) {
        C.append_rows(d.G + index * d.G_stride, d.m, nullptr);
        C.append_rows(d.A + index * d.A_stride, d.p, nullptr);
        const double* b = d.b + index * d.b_stride;
        side.insert(side.end(), b, b + d.p);
        ruiz(Q, C, D, E);
        Q.scale(D.data(), D);
        C.scale(E.data(), D);
        double logs = 0, count = 0;
        for (std::size_t i = 0; i < side.size(); ++i)
            if ((side[i] *= E[i]) != 0) logs += std::log2(std::fabs(side[i])), ++count;
        r = nearest_power(std::exp2(logs / std::max(count, 1.0)));
        for (double& x : side) x /= r;
        for (int j = 0; j < n; ++j) q[j] *= D[j];
        const double size = nearest_power(or_one(largest(q)));
        for (double& x : q) x /= size;
    }

    int p() const { return C.rows - m; }
    // The rows of A, then those of G, each with its right-hand side behind it if there is room: columns of a least-squares problem.
    void add_rows(std::vector<Vector>& to, int length) const {
        for (int k = 0; k < C.rows; ++k) {
            const int i = k < p() ? m + k : k - p();
            to.emplace_back(length, 0.0);
            C.row(i, [&](int j, double a) { to.back()[j] = a; });
            if (length > n) to.back()[n] = side[i];
        }
    }
};

// Zero in the place of what is the rounding of larger entries.
void clean(Twices& v) {
    double most = 0;
    for (const Twice& x : v) most = std::max(most, std::fabs(x.high));
    for (Twice& x : v)
        if (std::fabs(x.high) <= NOTHING * most) x = Twice();
}

// Bᵀλ of the chosen columns, and the sums of the magnitudes of its terms.
Twices combined(const Nonnegative& near, const Twices& y, Vector& terms) {
    Twices sums(terms.size());
    std::fill(terms.begin(), terms.end(), 0.0);
    for (std::size_t i = 0; i < y.size(); ++i)
        for (std::size_t j = 0; j < terms.size(); ++j) {
            sums[j].add(near.column((int)i)[j], y[i]);
            terms[j] += std::fabs(near.column((int)i)[j] * y[i].high);
        }
    return sums;
}

// The unknowns that reach the target in twice the working precision.
Twices corrected(const Nonnegative& near, const Vector& target, Vector& terms) {
    Twices y(near.chosen.size());
    for (std::size_t i = 0; i < y.size(); ++i) y[i].high = near.values[i];
    Vector off(target.size());
    for (int correction = 0; correction < CORRECTIONS; ++correction) {
        Twices sums = combined(near, y, terms);
        for (std::size_t j = 0; j < off.size(); ++j) {
            sums[j].add(-1, target[j]);
            off[j] = -sums[j].high;
        }
        const Vector change = near.coefficients(off);
        for (std::size_t i = 0; i < y.size(); ++i) y[i].add(1, change[i]);
    }
    clean(y);
    return y;
}

// The column of an inequality whose unknown is zero, but for rounding; −1 if there is none.
int negative(const Nonnegative& near, const Twices& y) {
    int found = -1;
    for (int i = 0; i < (int)y.size(); ++i)
        if (!near.is_free(i) && y[i].high < 0 && (found < 0 || y[i].high < y[found].high)) found = i;
    return found;
}

// (λ, ν) of a Farkas certificate with hᵀλ + bᵀν = −1; empty if there is none.
Vector contradiction(const Scaled& s) {
    const int n = s.n;
    std::vector<Vector> columns;
    s.add_rows(columns, n + 1);
    Vector target(n + 1, 0.0), terms(n + 1);
    target[n] = -1;
    Nonnegative near(std::move(columns), s.p(), target);
    near.solve(REACHED);
    Twices y = corrected(near, target, terms);
    for (int place; (place = negative(near, y)) >= 0; y = corrected(near, target, terms)) {
        near.drop(place);
        near.values = near.coefficients(target);
    }
    const Twices sums = combined(near, y, terms);
    const double depth = -sums[n].high;
    if (!(depth > ROUNDING * terms[n])) return {};
    double left = 0;
    for (int j = 0; j < n; ++j) {
        if (!(std::fabs(sums[j].high) <= EXACT * terms[j])) return {};
        left += std::fabs(sums[j].high);
    }
    if (!(left * FAR <= depth)) return {};
    Vector out(s.C.rows, 0.0);
    for (std::size_t i = 0; i < y.size(); ++i) out[near.is_free((int)i) ? s.m + near.chosen[i] : near.chosen[i] - s.p()] = y[i].high / depth;
    return out;
}

// −q on the null space of the chosen columns, in twice the working precision.
Twices projected(const Nonnegative& near, const Vector& target) {
    Twices d(target.size());
    for (std::size_t j = 0; j < d.size(); ++j) d[j].high = target[j];
    Vector off(near.chosen.size());
    for (int correction = 0; correction < CORRECTIONS; ++correction) {
        for (std::size_t i = 0; i < off.size(); ++i) {
            Twice sum;
            for (std::size_t j = 0; j < d.size(); ++j) sum.add(near.column((int)i)[j], d[j]);
            off[i] = sum.high;
        }
        const Vector change = near.against(off);
        for (std::size_t j = 0; j < d.size(); ++j) d[j].add(-1, change[j]);
    }
    clean(d);
    return d;
}

// Whether d is a ray of descent.
bool falls(const Scaled& s, const Twices& d) {
    Twice slope;
    double terms = 0;
    for (int j = 0; j < s.n; ++j) {
        slope.add(-s.q[j], d[j]);
        terms += std::fabs(s.q[j] * d[j].high);
    }
    const double descent = slope.high;
    if (!(descent > ROUNDING * terms)) return false;
    const auto along = [&](const Entries& M, int i, double bound, double most, bool both) {
        Twice sum;
        double all = 0;
        M.row(i, [&](int j, double a) {
            sum.add(a, d[j]);
            all += std::fabs(a * d[j].high);
        });
        const double value = both ? std::fabs(sum.high) : sum.high;
        return value <= bound * all && value <= most * descent;
    };
    for (int j = 0; j < s.n; ++j)
        if (!along(s.Q, j, ROUNDING, CURVED, true)) return false;
    for (int i = 0; i < s.C.rows; ++i)
        if (!along(s.C, i, EXACT, 1 / FAR, i >= s.m)) return false;
    return true;
}

// A ray of descent; empty if there is none.
Vector ray(const Scaled& s) {
    std::vector<Vector> columns;
    for (int j = 0; j < s.n; ++j) {
        columns.emplace_back(s.n, 0.0);
        s.Q.row(j, [&](int l, double a) { columns.back()[l] = a; });
    }
    s.add_rows(columns, s.n);
    Vector target(s.n);
    for (int j = 0; j < s.n; ++j) target[j] = -s.q[j];
    Nonnegative near(std::move(columns), s.n + s.p(), target);
    near.solve(0);
    const Twices d = projected(near, target);
    if (!falls(s, d)) return {};
    Vector out(s.n);
    for (int j = 0; j < s.n; ++j) out[j] = d[j].high;
    return out;
}

void write_contradiction(const Data& d, const Scaled& s, const Vector& y, const Answer& answer, long index) {
    for (int i = 0; i < d.m; ++i) answer.lam[index * d.m + i] = s.E[i] * y[i] / s.r;
    for (int i = 0; i < d.p; ++i) answer.nu[index * d.p + i] = s.E[d.m + i] * y[d.m + i] / s.r;
}

void write_ray(const Data& d, const Scaled& s, const Vector& found, const Answer& answer, long index) {
    double *z = answer.z + index * d.n, descent = 0;
    for (int j = 0; j < d.n; ++j) {
        z[j] = s.D[j] * found[j];
        descent -= d.q[index * d.q_stride + j] * z[j];
    }
    for (int j = 0; j < d.n; ++j) z[j] /= descent;
    answer.objective[index] = -1;
}

}  // namespace

void prove(const Data& d, const Answer& answer, long index) {
    const double n = d.n + 1;
    if (n * n * (n + d.m + d.p) > MOST_WORK) return;
    const Scaled s(d, index);
    const Vector y = contradiction(s), descent = y.empty() ? ray(s) : Vector();
    if (y.empty() && descent.empty()) return;
    y.empty() ? write_ray(d, s, descent, answer, index) : write_contradiction(d, s, y, answer, index);
    answer.status[index] = y.empty() ? UNBOUNDED : INFEASIBLE;
    const double *z = answer.z + index * d.n, *G = d.G + index * d.G_stride;
    for (int i = 0; i < d.m; ++i) {
        double slack = d.h[index * d.h_stride + i];
        for (int j = 0; j < d.n; ++j) slack -= G[(long)i * d.n + j] * z[j];
        answer.s[index * d.m + i] = slack;
    }
}

}  // namespace convex_layers
