// K⁺ r = (I − N N⁺) K⁻ (I − L L⁺) r as in layers/linalg/shortest.py, part by part where nothing connects them.
#include "qp/degenerate.hpp"

#include "qp/reduced.hpp"

namespace convex_layers {

namespace {

constexpr double MOST_WORK = 2e8;     // multiplications
constexpr int CORRECTIONS = 3;        // of an answer by its residual
constexpr double FINE = 1e-13;        // an error that needs none
constexpr double LEAST_TERMS = 1e-5;  // layers/qp/active_set.py

// H, and the rows that are active, strongly first; r and x over all variables and these rows.
struct System {
    Entries H, C;
    std::vector<int> active, weak;  // rows of G
    int strong;                     // rows of C that are not weak
    Vector r, x;

    System(const Data& d, const Sparse* plan, const Linearised& call, long index)
        : H(Entries::symmetric(d.Q + index * d.Q_stride, d.n, plan ? &plan->Q : nullptr)), C(d.n), r(call.r_z + index * d.n, call.r_z + (index + 1) * d.n) {
        const signed char* kind = call.kind + index * d.m;
        const double *G = d.G + index * d.G_stride, *rl = call.r_lam + index * d.m, *rn = call.r_nu + index * d.p;
        for (int i = 0; i < d.m; ++i)
            if (kind[i] != INACTIVE) (kind[i] == ACTIVE ? active : weak).push_back(i);
        const Pattern *of_G = plan ? &plan->G : nullptr, *of_A = plan ? &plan->A : nullptr;
        for (int i : active) C.append_row(G, i, of_G), r.push_back(rl[i]);
        C.append_rows(d.A + index * d.A_stride, d.p, of_A);
        r.insert(r.end(), rn, rn + d.p);
        strong = C.rows;
        for (int i : weak) C.append_row(G, i, of_G), r.push_back(call.transpose ? rl[i] : 0);
        x.assign(r.size(), 0.0);
    }

    void store(const Data& d, const Linearised& call, long index) const {
        double *xz = call.x_z + index * d.n, *xl = call.x_lam + index * d.m;
        const double* y = x.data() + d.n;
        std::copy(x.begin(), x.begin() + d.n, xz);
        std::fill(xl, xl + d.m, 0.0);
        for (std::size_t i = 0; i < active.size(); ++i) xl[active[i]] = y[i];
        std::copy(y + active.size(), y + strong, call.x_nu + index * d.p);
        for (std::size_t i = 0; !call.transpose && i < weak.size(); ++i) xl[weak[i]] = y[strong + i];
    }
};

// One part: its x from its r, and the error, infinite where a rank is in doubt.
double solve(const Element& e, const Vector& r, bool transpose, Vector& best) {
    const int all = e.size.all();
    const std::vector<Direction>&before = transpose ? e.N : e.L, &after = transpose ? e.L : e.N;
    Vector terms(all), given = r, x(all, 0.0), scaled(all), sizes(all);
    for (int i = 0; i < all; ++i) terms[i] = std::fabs(r[i]);
    for (const Direction& b : before) {
        const double part = std::fabs(dot(b.entries, r, b.first, b.last));
        for (int i = b.first; i < b.last; ++i) terms[i] += part * std::fabs(b.entries[i]);
    }
    without(before, given);
    Vector left = given;
    double error = HUGE_VAL;
    for (int correction = 0; correction < CORRECTIONS && error > FINE; ++correction) {
        for (int i = 0; i < all; ++i) left[i] *= e.into[i];
        const Vector step = e.apply(left, transpose);
        for (int i = 0; i < all; ++i) x[i] += e.out[i] * step[i];
        without(after, x);
        for (int i = 0; i < all; ++i) scaled[i] = x[i] / e.out[i];
        const Vector Kx = e.product(scaled, transpose, false), weights = e.product(scaled, transpose, true);
        for (int i = 0; i < all; ++i) sizes[i] = e.into[i] * terms[i] + weights[i];
        const Vector near = e.spread(sizes);
        double now = 0;
        for (int i = 0; i < all; ++i) {
            const double miss = e.into[i] * given[i] - Kx[i], own = std::max(sizes[i], given[i] == 0 ? LEAST_TERMS * near[i] : 0.0);
            left[i] = miss / e.into[i];
            if (miss - miss != 0) return HUGE_VAL;  // not a number
            if (miss != 0) now = std::max(now, own > 0 ? std::fabs(miss) / own : HUGE_VAL);
        }
        if (now < error) error = now, best = x;
    }
    return error;
}

}  // namespace

void solve_degenerate(const Data& d, const Sparse* plan, const Linearised& call, long index) {
    const signed char* kind = call.kind + index * d.m;
    if (std::any_of(kind, kind + d.m, [](signed char one) { return one != INACTIVE && one != ACTIVE && one != WEAK; })) return;
    System s(d, plan, call, index);
    std::vector<int> of_rows, label = parts_of(s.H, s.C, of_rows), place(d.n);
    struct Part {
        std::vector<int> variables, active, weak;
    };
    std::vector<Part> parts(d.n);
    for (int j = 0; j < d.n; ++j) {
        place[j] = (int)parts[label[j]].variables.size();
        parts[label[j]].variables.push_back(j);
    }
    for (int i = 0; i < s.C.rows; ++i)
        if (of_rows[i] >= 0) (i < s.strong ? parts[of_rows[i]].active : parts[of_rows[i]].weak).push_back(i);
    double error = 0, work = 0;
    for (const Part& part : parts) {
        if (part.variables.empty()) continue;
        Element e(s.H, s.C, part.variables, part.active, part.weak, place);
        if ((work += e.work()) > MOST_WORK) return;
        e.factorise();
        if (!e.trusted) return;
        std::vector<int> where = part.variables;
        for (const auto* rows : {&part.active, &part.weak})
            for (int i : *rows) where.push_back(d.n + i);
        Vector r, x;
        for (int i : where) r.push_back(s.r[i]);
        error = std::max(error, solve(e, r, call.transpose, x));
        if (!(error <= ANSWERED)) return;
        for (std::size_t i = 0; i < where.size(); ++i) s.x[where[i]] = x[i];
    }
    s.store(d, call, index);
    call.error[index] = error;
}

}  // namespace convex_layers
