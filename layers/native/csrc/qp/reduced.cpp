// K = [H Cᵀ Wᵀ; C 0 0] with the active rows C and the weakly active ones W, equilibrated. Rows of C with a single entry fix their variable; of the
// others what is left on the free variables, F, has Fᵀ Π = (Y Z) R, so that Y spans the range of Fᵀ and Z the null space of F. With
// M = [ZᵀHZ ZᵀWᵀ], decomposed likewise, a solution is
//     x = (fixed, Y t + Z u),  F x = r₂ for t,  M (u, v) = Zᵀ(r₁ − H x) for u and the weak multipliers v, then Cᵀ y = r₁ − H x − Wᵀ v,
// the null space of K is that of M, lifted in this way, and that of Cᵀ; that of Kᵀ has the x of the left null space of M in place of the former.
#include "qp/reduced.hpp"

namespace convex_layers {

namespace {

constexpr double NOTHING = 1e-14;     // entries of a null vector below this, relative to its largest, are rounding
constexpr double NULL_ERROR = 1e-12;  // what K leaves of a null vector, relative to its largest terms

}  // namespace

Element::Element(const Entries& H, const Entries& C, const std::vector<int>& variables, const std::vector<int>& active,
                 const std::vector<int>& weak, const std::vector<int>& place)
    : size{(int)variables.size(), (int)active.size(), (int)weak.size()}, H_(size.n), C_(size.n) {
    for (int j : variables) H_.append(H, j, place);
    for (int i : active) C_.append(C, i, place);
    for (int i : weak) C_.append(C, i, place);
    equilibrate();
    fixed_.assign(size.n, -1);
    among_.assign(size.n, -1);
    pivot_.assign(size.n, 0.0);
    for (int i = 0; i < size.k; ++i) {
        const int first = C_.start[i], column = C_.start[i + 1] == first + 1 ? C_.column[first] : -1;
        // Of several, the largest of the caller's: its multiplier is the smallest, and the shortest null vectors are apart.
        const int before = column < 0 ? i : fixed_[column];
        if (before >= 0 && (before == i || !(out[size.n + i] < out[size.n + before]))) {
            rest_.push_back(i);
            continue;
        }
        if (before >= 0) rest_.push_back(before);
        fixed_[column] = i;
        pivot_[column] = C_.value[first];
    }
    for (int j = 0; j < size.n; ++j)
        if (fixed_[j] < 0) among_[j] = (int)free_.size(), free_.push_back(j);
}

double Element::work() const {
    const double f = (double)free_.size(), k = (double)rest_.size(), w = size.w;
    return 2 * f * k * std::min(f, k) + 4 * f * f * f + 2 * f * w * std::min(f, w);
}

void Element::equilibrate() {
    Vector D, E;
    ruiz(H_, C_, D, E);
    H_.scale(D.data(), D);
    C_.scale(E.data(), D);
    const double scale = largest(H_.value), c = scale > 0 ? 1 / nearest_power(scale) : 1;
    for (double& x : H_.value) x *= c;
    into = out = D;
    for (double& x : into) x *= c;
    for (double e : E) into.push_back(e), out.push_back(e / c);
}

void Element::factorise() {
    const int f = (int)free_.size(), columns = (int)rest_.size();
    Vector F((long)f * columns);
    for (int i = 0; i < columns; ++i)
        C_.row(rest_[i], [&](int j, double a) {
            if (among_[j] >= 0) F[(long)among_[j] * columns + i] = a;
        });
    Vector units(columns);
    for (int i = 0; i < columns; ++i) units[i] = out[size.n + rest_[i]];
    rows_.emplace_back(std::move(F), f, columns, 0.0, units);
    reduce();
    trusted = !rows().doubtful && !hessian().doubtful;
    if (trusted) null_spaces();
}

// M = [ZᵀHZ ZᵀWᵀ].
void Element::reduce() {
    const int f = (int)free_.size(), rank = rows().rank, z = f - rank, w = size.w;
    Vector half((long)z * f), M((long)z * (z + w)), column(f);
    const auto turn = [&](int row, const Entries& from) {  // whether there was anything
        std::fill(column.begin(), column.end(), 0.0);
        bool any = false;
        from.row(row, [&](int j, double a) {
            if (among_[j] >= 0) column[among_[j]] = a, any = true;
        });
        if (any) rows().times_QT(column.data());
        return any;
    };
    for (int j = 0; j < f; ++j)
        if (turn(free_[j], H_))
            for (int a = 0; a < z; ++a) half[(long)a * f + j] = column[rank + a];
    for (int a = 0; a < z; ++a) {
        double* const row = &half[(long)a * f];
        if (std::all_of(row, row + f, [](double x) { return x == 0; })) continue;
        rows().times_QT(row);
        std::copy(row + rank, row + f, &M[(long)a * (z + w)]);
    }
    for (int i = 0; i < w; ++i)
        if (turn(size.k + i, C_))
            for (int a = 0; a < z; ++a) M[(long)a * (z + w) + z + i] = column[rank + a];
    // of products of matrices whose largest entries are one
    hessian_.emplace_back(std::move(M), z, z + w, 1.0);
}

Vector Element::turned(const Vector& x) const {
    Vector y(free_.size());
    for (std::size_t j = 0; j < y.size(); ++j) y[j] = x[free_[j]];
    rows().times_QT(y.data());
    return y;
}

void Element::place(Vector y, Vector& x) const {
    rows().times_Q(y.data());
    for (std::size_t j = 0; j < y.size(); ++j) x[free_[j]] = y[j];
}

Vector Element::slope(const Vector& r, const Vector& x, bool weak) const {
    Vector g(size.n, 0.0);
    H_.add(x.data(), g.data());
    for (int i = 0; weak && i < size.w; ++i)
        C_.row(size.k + i, [&](int j, double a) { g[j] += a * x[size.n + size.k + i]; });
    for (int j = 0; j < size.n; ++j) g[j] = r[j] - g[j];
    return g;
}

void Element::multipliers(Vector g, Vector& x) const {
    Vector own(rest_.size());
    rows().solve(turned(g).data(), own.data());
    for (std::size_t i = 0; i < rest_.size(); ++i) {
        x[size.n + rest_[i]] = own[i];
        if (own[i] != 0) C_.row(rest_[i], [&](int j, double a) { g[j] -= a * own[i]; });
    }
    for (int j = 0; j < size.n; ++j)
        if (fixed_[j] >= 0) x[size.n + fixed_[j]] = g[j] / pivot_[j];
}

Vector Element::apply(const Vector& r, bool transpose) const {
    const int n = size.n, k = size.k, w = size.w, rank = rows().rank, z = (int)free_.size() - rank;
    Vector x(size.all(), 0.0), low(rest_.size()), inner(free_.size(), 0.0);
    for (int j = 0; j < n; ++j)
        if (fixed_[j] >= 0) x[j] = r[n + fixed_[j]] / pivot_[j];
    for (std::size_t i = 0; i < rest_.size(); ++i) {
        low[i] = r[n + rest_[i]];
        C_.row(rest_[i], [&](int j, double a) { low[i] -= a * x[j]; });
    }
    rows().solve_transposed(low.data(), inner.data());
    place(inner, x);
    const Vector left = turned(slope(r, x, false));
    Vector right(z + w);
    if (transpose) {
        std::copy(left.begin() + rank, left.end(), right.begin());
        for (int i = 0; i < w; ++i) {
            right[z + i] = r[n + k + i];
            C_.row(k + i, [&](int j, double a) { right[z + i] -= a * x[j]; });
        }
        Vector u(z, 0.0);
        hessian().solve_transposed(right.data(), u.data());
        hessian().times_Q(u.data());
        std::copy(u.begin(), u.end(), inner.begin() + rank);
    } else {
        Vector s(left.begin() + rank, left.end());
        hessian().times_QT(s.data());
        hessian().solve(s.data(), right.data());
        std::copy(right.begin(), right.begin() + z, inner.begin() + rank);
        std::copy(right.begin() + z, right.end(), x.begin() + n + k);
    }
    place(inner, x);
    multipliers(slope(r, x, !transpose), x);
    return x;
}

Vector Element::product(const Vector& x, bool transpose, bool magnitudes) const {
    Vector y(size.all(), 0.0), low(x.begin() + size.n, x.end());
    if (transpose) std::fill(low.begin() + size.k, low.end(), 0.0);
    if (magnitudes) {
        H_.add_sizes(x.data(), y.data());
        C_.add_sizes_transposed(low.data(), y.data());
        C_.add_sizes(x.data(), y.data() + size.n);
    } else {
        H_.add(x.data(), y.data());
        C_.add_transposed(low.data(), y.data());
        C_.add(x.data(), y.data() + size.n);
    }
    if (!transpose) std::fill(y.begin() + size.n + size.k, y.end(), 0.0);
    return y;
}

Vector Element::spread(const Vector& terms) const {
    Vector near = terms;
    for (int step = 0; step < 2; ++step) {
        const Vector forward = product(near, false, true), back = product(near, true, true);
        for (std::size_t i = 0; i < near.size(); ++i) near[i] = std::max(near[i], std::max(forward[i], back[i]));
    }
    return near;
}

// A null vector of K, or of Kᵀ if it is a left one, in the caller's units, if it is one.
void Element::add(std::vector<Direction>& basis, Vector v, bool left, const Vector& units) {
    const double most = largest(v);
    for (double& x : v) x = std::fabs(x) > NOTHING * most ? x : 0;
    const Vector seen = product(v, left, false), terms = product(v, left, true);
    trusted = trusted && largest(seen) <= NULL_ERROR * largest(terms);
    Direction part{std::move(v), size.all(), 0};
    for (int i = 0; i < size.all(); ++i) {
        if (part.entries[i] == 0) continue;
        part.entries[i] *= units[i];
        part.first = std::min(part.first, i);
        part.last = i + 1;
    }
    basis.push_back(std::move(part));
}

void Element::null_spaces() {
    const int n = size.n, k = size.k, w = size.w, rank = rows().rank, z = (int)free_.size() - rank;
    for (int j = 0; j < rows().columns - rank; ++j) {
        Vector own(rows().columns), pull(n, 0.0), both(size.all(), 0.0);
        rows().null_vector(j, own.data());
        for (std::size_t i = 0; i < rest_.size(); ++i) {
            both[n + rest_[i]] = own[i];
            if (own[i] != 0) C_.row(rest_[i], [&](int l, double a) { pull[l] += a * own[i]; });
        }
        for (int l = 0; l < n; ++l)
            if (fixed_[l] >= 0) both[n + fixed_[l]] = -pull[l] / pivot_[l];
        add(N, std::move(both), false, out);
    }
    L = N;  // of vectors of y alone, only their length differs from what `into` would make
    const auto lifted = [&](const Vector& u) {
        Vector x(size.all(), 0.0), inner(free_.size(), 0.0);
        std::copy(u.begin(), u.begin() + z, inner.begin() + rank);
        place(std::move(inner), x);
        return x;
    };
    for (int j = 0; j < z + w - hessian().rank; ++j) {
        Vector own(z + w);
        hessian().null_vector(j, own.data());
        Vector x = lifted(own);
        if (w) {
            std::copy(own.begin() + z, own.end(), x.begin() + n + k);
            multipliers(slope(Vector(n, 0.0), x, true), x);
        }
        add(N, std::move(x), false, out);
    }
    trusted = trusted && orthonormal(N);
    if (!w) {
        L = N;
        return;
    }
    for (int j = hessian().rank; j < z; ++j) {
        Vector own(z, 0.0);
        own[j] = 1;
        hessian().times_Q(own.data());
        add(L, lifted(own), true, out);
    }
    trusted = trusted && orthonormal(L);
}

}  // namespace convex_layers
