#include "simd/apart.hpp"

#include "qp/pinned.hpp"

namespace convex_layers {

namespace {

// Rows of a matrix without those of other parts.
Vector dense(const Entries& M, const std::vector<int>& rows, const std::vector<int>& place, std::size_t width) {
    Vector out(rows.size() * width, 0.0);
    for (std::size_t i = 0; i < rows.size(); ++i) M.row(rows[i], [&](int j, double a) { out[i * width + place[j]] = a; });
    return out;
}

Vector taken(const double* from, const std::vector<int>& places) {
    Vector out;
    for (int i : places) out.push_back(from[i]);
    return out;
}

void put(const Vector& values, const std::vector<int>& places, double* to) {
    for (std::size_t i = 0; i < places.size(); ++i) to[places[i]] = values[i];
}

// One part with its own arrays, and its solution.
struct Part {
    std::vector<int> z, lam, nu;  // its variables and rows in the whole
    Vector Q, q, G, h, A, b;
    Vector z_at, lam_at, nu_at, s_at;
    std::vector<signed char> kind;
    long long iterations = 0;

    Part(const Data& d, const Entries& all_Q, const Entries& C, const Division& parts, std::size_t which) : z(parts.variables[which]) {
        const std::vector<int>& rows = parts.rows[which];
        const auto first = std::lower_bound(rows.begin(), rows.end(), d.m);
        lam.assign(rows.begin(), first);
        nu.assign(first, rows.end());
        Q = dense(all_Q, z, parts.place, z.size());
        G = dense(C, lam, parts.place, z.size());
        A = dense(C, nu, parts.place, z.size());
        for (int& i : nu) i -= d.m;
        q = taken(d.q, z), h = taken(d.h, lam), b = taken(d.b, nu);
    }

    int n() const { return (int)z.size(); }
    bool solve(const Kernels& k, const Options& options) { return (largest(q) == 0 && rest(k, options)) || walk(k, options); }

  private:
    bool walk(const Kernels& k, const Options& options) {
        const Data own{n(), (int)lam.size(), (int)nu.size(), 1, Q.data(), q.data(), G.data(), h.data(), A.data(), b.data(), 0, 0, 0, 0, 0, 0};
        const Solved solved(k, own, options, nullptr);
        if (!solved.settled()) return false;
        z_at = solved.z, lam_at = solved.lam, nu_at = solved.nu, s_at = solved.s;
        kind = solved.kind, iterations = solved.iterations[0];
        return true;
    }

    // Where nothing pulls, q = 0, every feasible point with Qz = 0 is a minimiser, without any multiplier: here the shortest. An interior point comes
    // near one by the square root of what it takes.
    bool rest(const Kernels& k, const Options& options) {
        Vector identity((std::size_t)n() * n(), 0.0), rows = A, sides = b;
        for (int j = 0; j < n(); ++j) {
            identity[(std::size_t)j * n() + j] = 1;
            const double* row = Q.data() + (std::size_t)j * n();
            if (std::any_of(row, row + n(), [](double a) { return a != 0; })) rows.insert(rows.end(), row, row + n()), sides.push_back(0);
        }
        const Data own{n(), (int)lam.size(), (int)sides.size(), 1, identity.data(), q.data(), G.data(), h.data(), rows.data(), sides.data(), 0, 0, 0, 0, 0, 0};
        const Solved solved(k, own, options, nullptr);
        if (!solved.settled()) return false;
        z_at = solved.z, s_at = solved.s, lam_at.assign(lam.size(), 0.0), nu_at.assign(nu.size(), 0.0);
        kind = solved.kind, iterations = solved.iterations[0];
        for (signed char& one : kind) one = one == INACTIVE ? INACTIVE : WEAK;
        Entries C(n());
        C.append_rows(G.data(), (int)lam.size(), nullptr);
        C.append_rows(A.data(), (int)nu.size(), nullptr);
        return pin(C, kind);
    }
};

// The point of every part, and what its rows are; whether all were solved and told.
bool by_parts(const Kernels& k, const Data& d, const Sparse* plan, Options options, const Answer& answer, std::vector<signed char>& kind) {
    const Entries Q = Entries::symmetric(d.Q, d.n, plan ? &plan->Q : nullptr);
    Entries C(d.n);
    C.append_rows(d.G, d.m, plan ? &plan->G : nullptr);
    C.append_rows(d.A, d.p, plan ? &plan->A : nullptr);
    options.z = nullptr, options.interior = false;
    const Division parts(Q, C);
    if (parts.variables.size() < 2) return false;
    *answer.iterations = 0;
    for (std::size_t j = 0; j < parts.variables.size(); ++j) {
        Part part(d, Q, C, parts, j);
        if (!part.solve(k, options)) return false;
        put(part.z_at, part.z, answer.z);
        put(part.lam_at, part.lam, answer.lam);
        put(part.nu_at, part.nu, answer.nu);
        put(part.s_at, part.lam, answer.s);
        for (std::size_t i = 0; i < part.lam.size(); ++i) kind[part.lam[i]] = part.kind[i];
        *answer.iterations = std::max(*answer.iterations, part.iterations);
    }
    return true;
}

}  // namespace

bool solve_parts(const Kernels& k, const Data& d, const Sparse* plan, const Options& options, const Answer& all, long index) {
    const Data data = alone(d, index);
    const Answer answer = alone(d, all, index);
    std::vector<signed char> kind(d.m);
    bool told = by_parts(k, data, plan, options, answer, kind);
    if (told) {
        const long long iterations = *answer.iterations;
        const Vector z(answer.z, answer.z + d.n), lam(answer.lam, answer.lam + d.m), nu(answer.nu, answer.nu + d.p), s(answer.s, answer.s + d.m);
        Options there = options;
        there.z = z.data(), there.lam = lam.data(), there.nu = nu.data(), there.s = s.data(), there.as_it_is = true;
        const Choice choice = k.choose(data, plan);
        Arena arena(choice.bytes);
        Watch watch;
        k.solve(choice, data, plan, there, answer, arena, 0, 1, watch);
        *answer.iterations = iterations;
        told = *answer.status == OPTIMAL;
    }
    if (told) std::copy(kind.begin(), kind.end(), answer.kind);
    else *answer.status = LEFT;
    return told;
}

}  // namespace convex_layers
